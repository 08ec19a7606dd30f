#if defined(__aarch64__)
#define NIWAKI_SET convolution_neon
#include "kernels/convolution/body.inc"
#endif
