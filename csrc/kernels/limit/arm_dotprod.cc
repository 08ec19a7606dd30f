// SDOT.
#if defined(__aarch64__)
#ifndef __ARM_FEATURE_DOTPROD
#error "compile this file with the flags of cmake/NiwakiCompile.cmake"
#endif
#include <arm_neon.h>

#include <cstdint>

namespace niwaki {

// Twelve independent sums hide the latency of the instruction.
void limit_dotprod(int64_t turns) {
  const int32x4_t zero = vdupq_n_s32(0);
  const int8x16_t a = vdupq_n_s8(0), b = a;
  int32x4_t s0 = zero, s1 = zero, s2 = zero, s3 = zero, s4 = zero, s5 = zero;
  int32x4_t s6 = zero, s7 = zero, s8 = zero, s9 = zero, s10 = zero, s11 = zero;
  const auto multiply = [&](int32x4_t& sum) { asm volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(a), "w"(b)); };
  for (int64_t turn = 0; turn < turns; ++turn) {
    multiply(s0), multiply(s1), multiply(s2), multiply(s3), multiply(s4), multiply(s5);
    multiply(s6), multiply(s7), multiply(s8), multiply(s9), multiply(s10), multiply(s11);
  }
}

}  // namespace niwaki
#endif
