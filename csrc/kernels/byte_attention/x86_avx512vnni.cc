#if defined(__x86_64__)
#if !defined(__AVX512VNNI__)
#error "x86_avx512vnni.cc is compiled for AVX512-VNNI: see niwaki_isa_flags()."
#endif
#define NIWAKI_SET byte_attention_avx512vnni
#include "kernels/byte_attention/body.inc"
#endif
