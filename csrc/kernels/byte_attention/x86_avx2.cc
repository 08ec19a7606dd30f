#if defined(__x86_64__)
#if !defined(__AVX2__) || defined(__AVX512F__)
#error "x86_avx2.cc is compiled for AVX2: see niwaki_isa_flags()."
#endif
#define NIWAKI_SET byte_attention_avx2
#include "kernels/byte_attention/body.inc"
#endif
