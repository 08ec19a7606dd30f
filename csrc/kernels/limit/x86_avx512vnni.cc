// vpdpbusd on zmm.
#if defined(__x86_64__)
#ifndef __AVX512VNNI__
#error "compile this file with the flags of cmake/NiwakiCompile.cmake"
#endif
#include <immintrin.h>

#include <cstdint>

namespace niwaki {

// Twelve independent sums hide the latency of the instruction.
void limit_avx512vnni(int64_t turns) {
  const __m512i zero = _mm512_setzero_si512(), a = zero, b = zero;
  __m512i s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero;
  __m512i s6 = zero, s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero;
  const auto multiply = [&](__m512i& sum) { asm volatile("vpdpbusd %1, %2, %0" : "+v"(sum) : "v"(a), "v"(b)); };
  for (int64_t turn = 0; turn < turns; ++turn) {
    multiply(s0), multiply(s1), multiply(s2), multiply(s3), multiply(s4), multiply(s5);
    multiply(s6), multiply(s7), multiply(s8), multiply(s9), multiply(s10), multiply(s11);
  }
}

}  // namespace niwaki
#endif
