#if defined(__aarch64__)
#define NIWAKI_SET prelu_neon
#include "kernels/prelu/body.inc"
#endif
