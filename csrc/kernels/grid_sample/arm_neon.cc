#if defined(__aarch64__)
#define NIWAKI_SET grid_sample_neon
#include "kernels/grid_sample/body.inc"
#endif
