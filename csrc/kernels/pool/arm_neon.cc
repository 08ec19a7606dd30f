#if defined(__aarch64__)
#define NIWAKI_SET pool_neon
#include "kernels/pool/body.inc"
#endif
