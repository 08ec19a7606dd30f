// sin, cos, tan and their inverses of sixteen float32. See math16.h.
#pragma once

#include "kernels/common/doubles16.h"
#include "kernels/common/math16.h"

namespace niwaki {
namespace {

// x = (4 n + quadrant) * pi / 2 + rest, |rest| at most a little over pi / 4; the quadrant is in the low two bits.
struct QuadrantAndRest {
  I32x16 quadrant;
  F32x16 rest;
};

// The same for one number, of any size: 2^20 <= |x|.
inline void reduce_large(float x, int32_t* quadrant, float* rest) {
  // 32 zeros and the first bits of 2 / pi.
  static constexpr uint32_t kTwoOverPi[] = {0x00000000, 0xa2f9836e, 0x4e441529, 0xfc2757d1,
                                            0xf534ddc0, 0xdb629599, 0x3c439041, 0xfe5163ab};
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof(bits));
  const int exponent = static_cast<int>(bits >> 23 & 255) - 150;  // |x| = mantissa * 2^exponent
  const uint64_t mantissa = (bits & 0x7fffff) | 0x800000;
  // Bits of 2 / pi that make multiples of 4 are left out: the first one that is needed has the weight 2^(1 - exponent).
  const int first = 32 + exponent - 2, shift = first % 32;
  const uint32_t* word = kTwoOverPi + first / 32;
  uint64_t window[3];
  for (int i = 0; i < 3; ++i) window[i] = static_cast<uint32_t>(((uint64_t{word[i]} << 32 | word[i + 1]) << shift) >> 32);
  // The product modulo 4, in units of 2^-62.
  const uint64_t middle = mantissa * window[1] + (mantissa * window[2] >> 32);
  const uint64_t product = (mantissa * window[0] << 32) + middle;
  const uint64_t turns = (product + (uint64_t{1} << 61)) >> 62;
  const double angle =
      static_cast<double>(static_cast<int64_t>(product - (turns << 62))) * 3.4061215800865545e-19;  // pi / 2 * 2^-62
  const bool negative = bits >> 31 != 0;
  *quadrant = static_cast<int32_t>(negative ? 4 - turns : turns);
  *rest = static_cast<float>(negative ? -angle : angle);
}

NIWAKI_INLINE QuadrantAndRest split_by_half_pi(F32x16 x) {
  const F64x16 d = to_doubles(x), whole = splat(kWholeDouble), shifted = d * splat(0.63661977236758134308) + whole;
  const F64x16 turns = shifted - whole;
  // pi / 2 in two: the first has 33 bits, so its product is exact up to 2^20 turns.
  const F64x16 rest = (d - turns * splat(0x1.921fb544p+0)) - turns * splat(0x1.0b4611a626331p-34);
  QuadrantAndRest result = {low_bits(shifted), to_floats(rest)};
  const Mask16 large = less_equal(splat(1048576.0f), abs(x));
  if (any(large)) {
    float values[kSixteen], rests[kSixteen];
    int32_t quadrants[kSixteen];
    store(values, x), store(rests, result.rest), store(quadrants, result.quadrant);
    for (int i = 0; i < kSixteen; ++i) {
      const float magnitude = values[i] < 0.0f ? -values[i] : values[i];
      if (magnitude == kInfinity) rests[i] = kNotANumber;
      else if (magnitude >= 1048576.0f) reduce_large(values[i], &quadrants[i], &rests[i]);
    }
    result = {load(quadrants), load(rests)};
  }
  return result;
}
NIWAKI_INLINE F32x16 sin_of_rest(F32x16 r) {
  const F32x16 square = r * r;
  return with_sign_of(r, r + r * (square * polynomial(square, -0.16666655f, 0.008332187f, -0.00019517906f)));
}
NIWAKI_INLINE F32x16 cos_of_rest(F32x16 r) {
  const F32x16 square = r * r;
  return (splat(1.0f) - splat(0.5f) * square) + square * square * polynomial(square, 0.041666646f, -0.001388731f, 2.4432327e-05f);
}
// sin of quadrant * pi / 2 + rest
NIWAKI_INLINE F32x16 sin_of_split(I32x16 quadrant, F32x16 rest) {
  const Mask16 odd = equal(quadrant & splat(1), splat(1));
  const F32x16 result = select(odd, cos_of_rest(rest), sin_of_rest(rest));
  return from_bits(bits_of(result) ^ shift_left<30>(quadrant & splat(2)));
}
NIWAKI_INLINE F32x16 sin(F32x16 x) {
  const QuadrantAndRest s = split_by_half_pi(x);
  return sin_of_split(s.quadrant, s.rest);
}
NIWAKI_INLINE F32x16 cos(F32x16 x) {
  const QuadrantAndRest s = split_by_half_pi(x);
  return sin_of_split(s.quadrant + splat(1), s.rest);
}
NIWAKI_INLINE F32x16 tan(F32x16 x) {
  const QuadrantAndRest s = split_by_half_pi(x);
  const F32x16 sine = sin_of_rest(s.rest), cosine = cos_of_rest(s.rest);
  const Mask16 odd = equal(s.quadrant & splat(1), splat(1));
  return select(odd, -cosine, sine) / select(odd, sine, cosine);
}

constexpr float kPi = 3.14159265f, kHalfPi = 1.57079633f;
constexpr float kPiRest = -8.74227766e-8f, kHalfPiRest = -4.37113883e-8f;  // what float32 leaves of them

// asin for x in [0, 1/2], square = x x.
NIWAKI_INLINE F32x16 asin_of_small(F32x16 x, F32x16 square) {
  return x + x * (square * polynomial(square, 0.1666666f, 0.07500522f, 0.044513375f, 0.0318391f, 0.01431483f, 0.037696723f));
}
NIWAKI_INLINE F32x16 asin(F32x16 x) {
  const F32x16 magnitude = abs(x);
  const Mask16 large = less(splat(0.5f), magnitude);  // asin(x) = pi / 2 - 2 asin(sqrt((1 - x) / 2))
  const F32x16 square = select(large, splat(0.5f) * (splat(1.0f) - magnitude), x * x);
  const F32x16 p = asin_of_small(select(large, sqrt(square), magnitude), square);
  return with_sign_of(x, select(large, splat(kHalfPi) - (p + p + splat(-kHalfPiRest)), p));
}
NIWAKI_INLINE F32x16 acos(F32x16 x) {
  const F32x16 magnitude = abs(x), zero = splat(0.0f);
  const Mask16 large = less(splat(0.5f), magnitude), negative = less(x, zero);
  const F32x16 square = select(large, splat(0.5f) * (splat(1.0f) - magnitude), x * x);
  const F32x16 p = asin_of_small(select(large, sqrt(square), magnitude), square), twice = p + p;
  const F32x16 far = select(negative, splat(kPi) - (twice + splat(-kPiRest)), twice);
  return select(large, far, splat(kHalfPi) - (select(negative, -p, p) + splat(-kHalfPiRest)));
}

// atan for x in [0, 1]
NIWAKI_INLINE F32x16 atan_of_small(F32x16 x) {
  const F32x16 square = x * x;
  const F32x16 p = polynomial(square, -0.33333299f, 0.1999853f, -0.14264016f, 0.1095088f, -0.083993055f, 0.057881333f,
                              -0.031096842f, 0.010868533f, -0.0017827639f);
  return x + x * (square * p);
}
NIWAKI_INLINE F32x16 atan(F32x16 x) {
  const F32x16 magnitude = abs(x), one = splat(1.0f);
  const Mask16 large = less(one, magnitude);
  const F32x16 p = atan_of_small(select(large, one / magnitude, magnitude));
  return with_sign_of(x, select(large, splat(kHalfPi) - (p + splat(-kHalfPiRest)), p));
}
// The angle of the point (x, y).
NIWAKI_INLINE F32x16 atan2(F32x16 y, F32x16 x) {
  const F32x16 up = abs(y), right = abs(x), zero = splat(0.0f), infinity = splat(kInfinity);
  const Mask16 steep = less(right, up);
  const F32x16 small = select(steep, right, up), large = select(steep, up, right);
  F32x16 ratio = select(equal(large, zero), zero, small / large);
  ratio = select(equal(small, infinity), splat(1.0f), ratio);
  const F32x16 p = atan_of_small(ratio);
  const F32x16 first = select(steep, splat(kHalfPi) - (p + splat(-kHalfPiRest)), p);  // in the first quadrant
  const Mask16 left = less(bits_of(x), splat(0));                                     // -0, too
  const F32x16 result = with_sign_of(y, select(left, splat(kPi) - (first + splat(-kPiRest)), first));
  return select(is_nan(x) | is_nan(y), x + y, result);
}

}  // namespace
}  // namespace niwaki
