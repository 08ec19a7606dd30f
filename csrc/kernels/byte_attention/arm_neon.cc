#if defined(__aarch64__)
#define NIWAKI_SET byte_attention_neon
#include "kernels/byte_attention/body.inc"
#endif
