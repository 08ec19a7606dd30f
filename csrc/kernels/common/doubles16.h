// Sixteen float64, for the few functions of float32 that need more bits than that on the way: arguments of sin, and pow. See lanes16.h.
#pragma once

#include "kernels/common/lanes16.h"

namespace niwaki {
namespace {

using DoublePart = double __attribute__((vector_size(kPartLanes * 4)));
using LongPart = int64_t __attribute__((vector_size(kPartLanes * 4)));
using HalfFloatPart = float __attribute__((vector_size(kPartLanes * 2)));
using HalfIntPart = int32_t __attribute__((vector_size(kPartLanes * 2)));

struct F64x16 {
  DoublePart part[2 * kParts];
};

#define NIWAKI_EACH_PART(expression)                                  \
  F64x16 result;                                                      \
  for (int i = 0; i < 2 * kParts; ++i) result.part[i] = (expression); \
  return result

NIWAKI_INLINE F64x16 splat(double value) { NIWAKI_EACH_PART(value - DoublePart{}); }
NIWAKI_INLINE F64x16 operator+(F64x16 a, F64x16 b) { NIWAKI_EACH_PART(a.part[i] + b.part[i]); }
NIWAKI_INLINE F64x16 operator-(F64x16 a, F64x16 b) { NIWAKI_EACH_PART(a.part[i] - b.part[i]); }
NIWAKI_INLINE F64x16 operator*(F64x16 a, F64x16 b) { NIWAKI_EACH_PART(a.part[i] * b.part[i]); }
NIWAKI_INLINE F64x16 operator/(F64x16 a, F64x16 b) { NIWAKI_EACH_PART(a.part[i] / b.part[i]); }
// As those of lanes16.h: of a NaN and a number, b.
NIWAKI_INLINE F64x16 greater_of(F64x16 a, F64x16 b) { NIWAKI_EACH_PART(a.part[i] > b.part[i] ? a.part[i] : b.part[i]); }
NIWAKI_INLINE F64x16 lesser_of(F64x16 a, F64x16 b) { NIWAKI_EACH_PART(a.part[i] < b.part[i] ? a.part[i] : b.part[i]); }
#undef NIWAKI_EACH_PART

NIWAKI_INLINE F64x16 to_doubles(F32x16 a) {
  F64x16 result;
  for (int i = 0; i < kParts; ++i) {
    HalfFloatPart halves[2];
    __builtin_memcpy(halves, &a.part[i], sizeof(halves));
    for (int half = 0; half < 2; ++half) result.part[2 * i + half] = __builtin_convertvector(halves[half], DoublePart);
  }
  return result;
}
NIWAKI_INLINE F32x16 to_floats(F64x16 a) {
  F32x16 result;
  for (int i = 0; i < kParts; ++i) {
    HalfFloatPart halves[2];
    for (int half = 0; half < 2; ++half) halves[half] = __builtin_convertvector(a.part[2 * i + half], HalfFloatPart);
    __builtin_memcpy(&result.part[i], halves, sizeof(halves));
  }
  return result;
}

// A sum with it is rounded to a whole number, which lies in its low bits: 1.5 * 2^52.
constexpr double kWholeDouble = 6755399441055744.0;
// These low bits of such a sum, |whole number| < 2^31.
NIWAKI_INLINE I32x16 low_bits(F64x16 shifted) {
  I32x16 result;
  for (int i = 0; i < kParts; ++i) {
    HalfIntPart halves[2];
    for (int half = 0; half < 2; ++half)
      halves[half] = __builtin_convertvector(reinterpret_cast<LongPart>(shifted.part[2 * i + half]), HalfIntPart);
    __builtin_memcpy(&result.part[i], halves, sizeof(halves));
  }
  return result;
}
// 2^n for such a sum, n in [-1022, 1023].
NIWAKI_INLINE F64x16 power_of_two(F64x16 shifted) {
  F64x16 result;
  for (int i = 0; i < 2 * kParts; ++i)
    result.part[i] = reinterpret_cast<DoublePart>((reinterpret_cast<LongPart>(shifted.part[i]) + 1023) << 52);
  return result;
}

NIWAKI_INLINE F64x16 polynomial(F64x16, double c0) { return splat(c0); }
template <typename... More>
NIWAKI_INLINE F64x16 polynomial(F64x16 x, double c0, More... more) {
  return polynomial(x, more...) * x + splat(c0);
}

}  // namespace
}  // namespace niwaki
