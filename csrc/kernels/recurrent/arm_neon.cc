#if defined(__aarch64__)
#define NIWAKI_SET recurrent_neon
#include "kernels/recurrent/body.inc"
#endif
