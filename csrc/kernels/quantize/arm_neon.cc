#if defined(__aarch64__)
#define NIWAKI_SET quantize_neon
#include "kernels/quantize/body.inc"
#endif
