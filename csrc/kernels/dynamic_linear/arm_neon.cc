#if defined(__aarch64__)
#define NIWAKI_SET dynamic_linear_neon
#include "kernels/dynamic_linear/body.inc"
#endif
