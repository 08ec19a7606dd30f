#if defined(__x86_64__)
#if !defined(__AVXVNNI__) || !defined(__FMA__) || defined(__AVX512F__)
#error "x86_avxvnni.cc is compiled for AVX-VNNI: see niwaki_isa_flags()."
#endif
#define NIWAKI_SET byte_attention_avxvnni
#include "kernels/byte_attention/body.inc"
#endif
