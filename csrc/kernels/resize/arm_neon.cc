#if defined(__aarch64__)
#define NIWAKI_SET resize_neon
#include "kernels/resize/body.inc"
#endif
