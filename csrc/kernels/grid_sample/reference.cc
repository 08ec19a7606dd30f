// grid_sample for any CPU.
#define NIWAKI_SET grid_sample_scalar
#include "kernels/grid_sample/body.inc"
