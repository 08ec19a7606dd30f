#if defined(__aarch64__)
#define NIWAKI_SET add_neon
#include "kernels/add/body.inc"
#endif
