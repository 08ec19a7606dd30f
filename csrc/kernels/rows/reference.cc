// The same sources with no instructions but those that every CPU of the architecture has: what the other rows must equal.
#define NIWAKI_SET rows_scalar
#include "kernels/rows/body.inc"
