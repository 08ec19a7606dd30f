#if defined(__aarch64__)
#define NIWAKI_SET mul_neon
#include "kernels/mul/body.inc"
#endif
