// exp, log, tanh and their kin of sixteen float32: polynomials of our own (minimax, with coefficients rounded to float32), sums and
// products in a fixed order and no fused ones, so every instruction set gives the same bits. NaN and infinities as torch has them; numbers
// below the normal ones are as good as others. The errors were measured against double over all floats: kernels/elementwise/test.cc has
// them for every function and checks them.
#pragma once

#include "kernels/common/lanes16.h"

namespace niwaki {
namespace {

constexpr float kInfinity = __builtin_inff();
constexpr float kNotANumber = __builtin_nanf("");

// c0 + c1 x + c2 x^2 + ...
NIWAKI_INLINE F32x16 polynomial(F32x16, float c0) { return splat(c0); }
template <typename... More>
NIWAKI_INLINE F32x16 polynomial(F32x16 x, float c0, More... more) {
  return polynomial(x, more...) * x + splat(c0);
}

// ---- powers of 2 and of e ----

// x = power * unit + rest, |rest| at most a little over half a unit, for powers of less than 2^22.
struct PowerAndRest {
  I32x16 power;
  F32x16 rest;
};
// A sum with it is rounded to a whole number, which lies in its low bits: 1.5 * 2^23.
constexpr float kWhole = 12582912.0f;
NIWAKI_INLINE PowerAndRest split_by_one(F32x16 x) {
  const F32x16 shifted = x + splat(kWhole);
  return {bits_of(shifted) - bits_of(splat(kWhole)), x - (shifted - splat(kWhole))};
}
NIWAKI_INLINE PowerAndRest split_by_ln2(F32x16 x) {
  const F32x16 shifted = x * splat(1.44269504f) + splat(kWhole), whole = shifted - splat(kWhole);
  // ln 2 in two: the first has 9 bits, so its product is exact.
  return {bits_of(shifted) - bits_of(splat(kWhole)), (x - whole * splat(0.693359375f)) - whole * splat(-2.12194440e-4f)};
}
// 2^rest
NIWAKI_INLINE F32x16 exp2_of_rest(F32x16 r) {
  return splat(1.0f) + r * polynomial(r, 0.6931472f, 0.24022648f, 0.0555036f, 0.009618506f, 0.0013390812f, 0.00015326496f);
}
// exp(rest) - 1
NIWAKI_INLINE F32x16 expm1_of_rest(F32x16 r) {
  return r + r * r * polynomial(r, 0.49999997f, 0.16666536f, 0.041667424f, 0.00836763f, 0.0013873472f);
}
// 2^power, power in [-126, 127]
NIWAKI_INLINE F32x16 power_of_two(I32x16 power) { return from_bits(shift_left<23>(power + splat(127))); }
// v * 2^power, power in [-252, 254], rounded once
NIWAKI_INLINE F32x16 times_power_of_two(F32x16 v, I32x16 power) {
  const I32x16 half = shift_right<1>(power);
  return v * power_of_two(half) * power_of_two(power - half);
}
// What is not a number stays that.
NIWAKI_INLINE F32x16 bounded(F32x16 x, float low, float high) { return lesser_of(splat(high), greater_of(splat(low), x)); }

// 2^x for x in [-126, 126]
NIWAKI_INLINE F32x16 exp2_of_small(F32x16 x) {
  const PowerAndRest s = split_by_one(x);
  return exp2_of_rest(s.rest) * power_of_two(s.power);
}
// 2^x for x up to 127
NIWAKI_INLINE F32x16 exp2_of_negative(F32x16 x) {
  const PowerAndRest s = split_by_one(greater_of(splat(-151.0f), x));
  return times_power_of_two(exp2_of_rest(s.rest), s.power);
}
NIWAKI_INLINE F32x16 exp(F32x16 x) {
  const PowerAndRest s = split_by_ln2(bounded(x, -104.0f, 89.0f));  // beyond these it is 0 and infinity
  return times_power_of_two(splat(1.0f) + expm1_of_rest(s.rest), s.power);
}
NIWAKI_INLINE F32x16 expm1(F32x16 x) {
  const PowerAndRest s = split_by_ln2(bounded(x, -30.0f, 89.0f));
  const Mask16 top = less(splat(127), s.power);
  const F32x16 scale = power_of_two(select(top, splat(127), s.power));
  const F32x16 result = expm1_of_rest(s.rest) * scale + (scale - splat(1.0f));
  return with_sign_of(x, select(top, result + result, result));
}

// ---- logarithms ----

// x = (1 + rest) * 2^power with 1 + rest in [sqrt(1/2), sqrt(2)), for x > 0 and finite.
NIWAKI_INLINE PowerAndRest split_by_two(F32x16 x) {
  const Mask16 tiny = less(x, splat(1.17549435e-38f));
  const I32x16 low = splat(0x3f3504f3);  // sqrt(1/2)
  const I32x16 bits = bits_of(select(tiny, x * splat(8388608.0f), x)) - low;
  const F32x16 mantissa = from_bits((bits & splat(0x7fffff)) + low);
  return {shift_right<23>(bits) - (bits_of(tiny) & splat(23)), mantissa - splat(1.0f)};
}
// log((1 + rest) * 2^power) + small
NIWAKI_INLINE F32x16 log_of_split(PowerAndRest s, F32x16 small) {
  const F32x16 f = s.rest, square = f * f, power = to_floats(s.power);
  const F32x16 p = polynomial(f, 0.3333331f, -0.24999994f, 0.20002201f, -0.16668652f, 0.1421873f, -0.12396164f, 0.11885235f,
                              -0.117219046f, 0.06803063f);
  const F32x16 rest = f * square * p + (power * splat(-2.12194440e-4f) + small) - splat(0.5f) * square;
  return (f + rest) + power * splat(0.693359375f);
}
// `result` where x is positive and finite, else what a logarithm is there.
NIWAKI_INLINE F32x16 with_limits_of_log(F32x16 x, F32x16 result) {
  const Mask16 positive = less(splat(0.0f), x);
  const F32x16 limit = select(positive, x, select(equal(x, splat(0.0f)), splat(-kInfinity), splat(kNotANumber)));
  return select(positive & less(x, splat(kInfinity)), result, limit);
}
NIWAKI_INLINE F32x16 log(F32x16 x) { return with_limits_of_log(x, log_of_split(split_by_two(x), splat(0.0f))); }
NIWAKI_INLINE F32x16 log1p(F32x16 x) {
  const F32x16 sum = splat(1.0f) + x, lost = x - (sum - splat(1.0f));  // what the sum's rounding took, exactly
  return with_sign_of(x, with_limits_of_log(sum, log_of_split(split_by_two(sum), lost / sum)));
}

// ---- what is made of them ----

NIWAKI_INLINE F32x16 sigmoid(F32x16 x) {
  const F32x16 one = splat(1.0f), e = exp(-abs(x));
  return select(less(x, splat(0.0f)), e, one) / (one + e);
}
NIWAKI_INLINE F32x16 tanh(F32x16 x) {
  const F32x16 magnitude = abs(x), square = x * x, one = splat(1.0f);
  const F32x16 p = polynomial(square, -0.33333278f, 0.13331322f, -0.053729363f, 0.020604275f, -0.005665035f);
  const F32x16 e = exp2_of_small(lesser_of(splat(30.0f), magnitude * splat(2.88539008f)));  // exp(2 |x|); from 10 on tanh is 1
  return with_sign_of(x, select(less(magnitude, splat(0.625f)), x + x * (square * p), one - splat(2.0f) / (e + one)));
}
NIWAKI_INLINE F32x16 sinh(F32x16 x) {
  const F32x16 magnitude = abs(x), square = x * x;
  const F32x16 p = polynomial(square, 0.16666667f, 0.008333311f, 0.00019842896f, 2.7822132e-06f);
  const PowerAndRest s = split_by_ln2(lesser_of(splat(90.0f), magnitude));
  const F32x16 half = times_power_of_two(splat(1.0f) + expm1_of_rest(s.rest), s.power - splat(1));  // exp(|x|) / 2
  return with_sign_of(x, select(less(magnitude, splat(1.0f)), x + x * (square * p), half - splat(0.25f) / half));
}
NIWAKI_INLINE F32x16 cosh(F32x16 x) {
  const PowerAndRest s = split_by_ln2(lesser_of(splat(90.0f), abs(x)));
  const F32x16 half = times_power_of_two(splat(1.0f) + expm1_of_rest(s.rest), s.power - splat(1));
  return half + splat(0.25f) / half;
}
NIWAKI_INLINE F32x16 erf(F32x16 x) {
  const F32x16 magnitude = lesser_of(splat(4.0f), abs(x)), square = magnitude * magnitude;  // erf(4) is 1 - 1.5e-8
  const F32x16 near =
      polynomial(square, 0.12837917f, -0.37612626f, 0.11283579f, -0.026853347f, 0.005187162f, -0.0007997853f, 7.806903e-05f);
  // 1 - erf = 2 to the power of a polynomial that lies between -26 and -2 here.
  const F32x16 far = polynomial(magnitude, -1.6280924f, -0.91718006f, -0.15181838f, 0.032996263f, -0.0046298373f, 0.0003077053f);
  return with_sign_of(
      x, select(less(magnitude, splat(0.95f)), magnitude + magnitude * near, splat(1.0f) - exp2_of_small(magnitude * far)));
}
NIWAKI_INLINE F32x16 rsqrt(F32x16 x) { return splat(1.0f) / sqrt(x); }

// ---- activations ----

NIWAKI_INLINE F32x16 silu(F32x16 x) { return x * sigmoid(x); }
// x times the share of a normal distribution below x. The share below -|x| is 2 to the power of a polynomial, whose leading coefficient is
// negative: far out it goes to 0 as it should.
NIWAKI_INLINE F32x16 gelu(F32x16 x) {
  const F32x16 tail =
      x * exp2_of_negative(polynomial(abs(x), -0.99999994f, -1.1511085f, -0.45918116f, -0.05257764f, 0.0071805706f,
                                      -0.00022606702f, -0.00014953759f, 3.1721105e-05f, -2.2001711e-06f));
  return select(less(splat(0.0f), x), x - tail, tail);
}
// x / 2 (1 + tanh(u)) = x sigmoid(2 u)
NIWAKI_INLINE F32x16 gelu_tanh(F32x16 x) {
  return x * sigmoid(x * (splat(1.5957691f) + splat(0.07135481f) * (x * x)));  // 2 sqrt(2 / pi), and 0.044715 times it
}
NIWAKI_INLINE F32x16 log_sigmoid(F32x16 x) { return lesser_of(splat(0.0f), x) - log1p(exp(-abs(x))); }
NIWAKI_INLINE F32x16 softplus(F32x16 x, F32x16 beta, F32x16 threshold) {
  const F32x16 scaled = x * beta;
  return select(less(threshold, scaled), x, log1p(exp(scaled)) / beta);
}
// x tanh(log(1 + e)) with e = exp(x); tanh(log(t)) = (t^2 - 1) / (t^2 + 1)
NIWAKI_INLINE F32x16 mish(F32x16 x) {
  const F32x16 e = exp(lesser_of(splat(20.0f), x)), n = e * (e + splat(2.0f));  // from 20 on the quotient is 1
  return x * (n / (n + splat(2.0f)));
}

}  // namespace
}  // namespace niwaki
