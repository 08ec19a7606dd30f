#if defined(__aarch64__)
#if !defined(__ARM_FEATURE_DOTPROD)
#error "arm_dotprod.cc is compiled for the dot product: see niwaki_isa_flags()."
#endif
#define NIWAKI_SET byte_attention_dotprod
#include "kernels/byte_attention/body.inc"
#endif
