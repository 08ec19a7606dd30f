// pow, log2 and log10 of sixteen float32, by way of float64: nearly always the float32 nearest to the exact result.
#pragma once

#include "kernels/common/doubles16.h"
#include "kernels/common/math16.h"

namespace niwaki {
namespace {

// For x > 0 and finite.
NIWAKI_INLINE F64x16 log2_in_double(F32x16 x) {
  const PowerAndRest s = split_by_two(x);
  const F64x16 f = to_doubles(s.rest), ratio = f / (f + splat(2.0)),
               square = ratio * ratio;  // log(1 + f) = 2 artanh(f / (f + 2))
  const F64x16 p = polynomial(square, 2.8853900817779268, 0.9617966939248649, 0.5770780171023083, 0.41219841858172823,
                              0.3206154711487556, 0.26146857689017555, 0.24266841949022905);
  return to_doubles(to_floats(s.power)) + ratio * p;
}
NIWAKI_INLINE F32x16 log2(F32x16 x) { return with_limits_of_log(x, to_floats(log2_in_double(x))); }
NIWAKI_INLINE F32x16 log10(F32x16 x) {
  return with_limits_of_log(x, to_floats(log2_in_double(x) * splat(0.30102999566398119521)));
}

// 2^x, as float32.
NIWAKI_INLINE F32x16 exp2_of_double(F64x16 x) {
  const F64x16 t = lesser_of(splat(200.0), greater_of(splat(-200.0), x)), whole = splat(kWholeDouble);
  const F64x16 shifted = t + whole, r = t - (shifted - whole);
  const F64x16 p = polynomial(r, 1.0, 0.6931471805480277, 0.24022650698145842, 0.0555041093608349, 0.009618128610219472,
                              0.0013333454040750958, 0.0001540382782502181, 1.530938026518599e-05, 1.3178786692388082e-06);
  return to_floats(p * power_of_two(shifted));
}

NIWAKI_INLINE F32x16 pow(F32x16 x, F32x16 y) {
  const F32x16 zero = splat(0.0f), one = splat(1.0f), base = abs(x), half = y * splat(0.5f);
  const Mask16 whole = equal(trunc(y), y), odd = whole & not_equal(trunc(half), half);
  const Mask16 ordinary = less(zero, base) & less(base, splat(kInfinity)), negative = less(y, zero);
  F32x16 result = exp2_of_double(to_doubles(y) * log2_in_double(base));
  result = select(ordinary, result, select(negative, one / base, base));  // zero, infinity, NaN
  result = select(equal(base, one), one, result);                         // for an infinite y, too
  result = select(odd, with_sign_of(x, result), result);
  result = select(less(x, zero) & less(splat(-kInfinity), x) & ~whole, splat(kNotANumber), result);
  result = select(is_nan(y), y, result);
  return select(equal(y, zero) | equal(x, one), one, result);
}

}  // namespace
}  // namespace niwaki
