// vpdpbusd on ymm.
#if defined(__x86_64__)
#ifndef __AVXVNNI__
#error "compile this file with the flags of cmake/NiwakiCompile.cmake"
#endif
#include <immintrin.h>

#include <cstdint>

namespace niwaki {

// Twelve independent sums hide the latency of the instruction.
void limit_avxvnni(int64_t turns) {
  const __m256i zero = _mm256_setzero_si256(), a = zero, b = zero;
  __m256i s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero;
  __m256i s6 = zero, s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero;
  const auto multiply = [&](__m256i& sum) { asm volatile("%{vex%} vpdpbusd %1, %2, %0" : "+x"(sum) : "x"(a), "x"(b)); };
  for (int64_t turn = 0; turn < turns; ++turn) {
    multiply(s0), multiply(s1), multiply(s2), multiply(s3), multiply(s4), multiply(s5);
    multiply(s6), multiply(s7), multiply(s8), multiply(s9), multiply(s10), multiply(s11);
  }
}

}  // namespace niwaki
#endif
