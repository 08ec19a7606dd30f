#if defined(__x86_64__)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "x86_avx512vnni.cc is compiled for AVX512-VNNI: see niwaki_isa_flags()."
#endif
#define NIWAKI_SET prelu_avx512vnni
#include "kernels/prelu/body.inc"
#endif
