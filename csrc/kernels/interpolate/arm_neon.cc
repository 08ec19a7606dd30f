#if defined(__aarch64__)
#define NIWAKI_SET interpolate_neon
#include "kernels/interpolate/body.inc"
#endif
