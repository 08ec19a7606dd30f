#if defined(__aarch64__)
#define NIWAKI_SET attention_neon
#include "kernels/attention/body.inc"
#endif
