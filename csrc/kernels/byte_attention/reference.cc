// The same source with no instructions but those that every CPU of the architecture has: what the other rows must equal.
#define NIWAKI_SET byte_attention_scalar
#include "kernels/byte_attention/body.inc"
