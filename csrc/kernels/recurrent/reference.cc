// The same source with no instructions but those that every CPU of the architecture has: what the other rows must equal.
#define NIWAKI_SET recurrent_scalar
#include "kernels/recurrent/body.inc"
