// a * b + c of float32, rounded once (IEEE 754's fusedMultiplyAdd), for code that may not use a CPU's own instruction for it: the scalar
// references, and lanes16.h where x86 has no FMA. The library's fmaf is a call there, and slow without the instruction.
#pragma once

#include "kernels/common/inline.h"

namespace niwaki {
namespace {

#if defined(__FMA__) || defined(__aarch64__)
NIWAKI_INLINE float multiply_add(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
#else
// In float64 the product is exact and the sum is rounded to 53 bits. To round that to float32 is right but where it lies half way between
// two of them: there it decides on which side the exact sum was. So such a sum, and one below the normal numbers, whose halves lie
// elsewhere, is first rounded to odd: it keeps an even last bit only where it is exact (Boldo and Melquiond, 2008).
constexpr int32_t kDroppedBits = (1 << 29) - 1, kDroppedHalf = 1 << 28;  // of a float64's lowest 32 bits
NIWAKI_INLINE float multiply_add(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b), addend = static_cast<double>(c);
  double sum = product + addend;
  uint64_t bits;
  __builtin_memcpy(&bits, &sum, sizeof(bits));
  if ((bits & kDroppedBits) == kDroppedHalf || (sum > -0x1p-126 && sum < 0x1p-126)) {
    const double taken = sum - product, lost = (product - (sum - taken)) + (addend - taken);  // exact: Knuth's two-sum
    if ((bits & 1) == 0 && (lost < 0.0 || lost > 0.0)) bits += (lost > 0.0) == (sum > 0.0) ? uint64_t{1} : ~uint64_t{0};
    __builtin_memcpy(&sum, &bits, sizeof(sum));
  }
  return static_cast<float>(sum);
}
#endif

}  // namespace
}  // namespace niwaki
