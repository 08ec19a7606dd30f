#if defined(__aarch64__)
#define NIWAKI_SET float_pool_neon
#include "kernels/float_pool/body.inc"
#endif
