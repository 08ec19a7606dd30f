#if defined(__aarch64__)
#define NIWAKI_SET rows_neon
#include "kernels/rows/body.inc"
#endif
