#if defined(__aarch64__)
#define NIWAKI_SET elementwise_neon
#include "kernels/elementwise/body.inc"
#endif
