#if defined(__aarch64__)
#define NIWAKI_SET matmul_neon
#include "kernels/matmul/body.inc"
#endif
