// From 32-bit sums to bytes, for the convolutions of all instruction sets, over the vectors of common/vector.h. ConvOutput says what has to
// come out. Everything here has internal linkage.
// No standard library here: an inline function compiled for a newer CPU must not be the one that the linker keeps.
#pragma once

#include "kernels/common/vector.h"
#include "kernels/conv/kernel.h"

namespace niwaki {
namespace {

// What is left to do to a rounded sum: all that Finish does, because a sum may be anything; the same on bytes alone, where |t| is known to stay
// below 2^31 (clamp(round(t) + zero) = round(clamp(t)) + zero); or nothing, because packing saturates and ConvOutput::plain holds.
enum class Clamp { floats, bytes, none };

struct Limits {
  Finish finish;
  Floats residual_scale;
  Ints low_bytes, high_bytes, residual_zero;
};

NIWAKI_INLINE Limits limits_of(const ConvOutput& output) {
  const int32_t zero = output.out_zero, low = static_cast<int32_t>(output.low) + zero,
                high = static_cast<int32_t>(output.high) + zero;
  return {Finish::of(zero, low, high), set_floats(output.residual_scale), set_bytes(low), set_bytes(high),
          set_ints(output.residual_zero)};
}

// Plus a channel `r` of the residual.
template <Clamp kClamp>
NIWAKI_INLINE Floats with_residual(Floats t, Ints r, const Limits& limits) {
  if constexpr (kClamp != Clamp::none) r = sub_ints(r, limits.residual_zero);
  return add(t, mul(to_floats(r), limits.residual_scale));
}

template <Clamp kClamp>
NIWAKI_INLINE Ints round_sum(Floats t, const Limits& limits) {
  if constexpr (kClamp == Clamp::floats) return limits.finish.rounded(t);
  else return round_to_ints(t);
}

// Sums times their multipliers, plus the residual `r`, rounded.
template <bool kResidual, Clamp kClamp>
NIWAKI_INLINE Ints rounded(Ints sum, Floats multiplier, const Limits& limits, Ints r) {
  Floats t = mul(to_floats(sum), multiplier);
  if constexpr (kResidual) t = with_residual<kClamp>(t, r, limits);
  return round_sum<kClamp>(t, limits);
}

// Two vectors of rounded sums to 16-bit words with the zero point, then two of these to bytes, in order of the unpacks.
template <Clamp kClamp>
NIWAKI_INLINE Ints pack_words(Ints q0, Ints q1, const Limits& limits) {
  const Ints words = pack_to_words(q0, q1);
  if constexpr (kClamp == Clamp::none) return words;
  else return add_words_saturated(words, limits.finish.zero_words);
}
template <Clamp kClamp>
NIWAKI_INLINE Ints pack_bytes(Ints words01, Ints words23, const Limits& limits) {
  const Ints bytes = pack_to_bytes(words01, words23);
  if constexpr (kClamp == Clamp::none) return bytes;
  else if constexpr (kClamp == Clamp::bytes) return max_bytes(min_bytes(bytes, limits.high_bytes), limits.low_bytes);
  else return limits.finish.bounded(bytes);
}
template <Clamp kClamp>
NIWAKI_INLINE Ints pack_four(Ints q0, Ints q1, Ints q2, Ints q3, const Limits& limits) {
  return pack_bytes<kClamp>(pack_words<kClamp>(q0, q1, limits), pack_words<kClamp>(q2, q3, limits), limits);
}

// One group of four outputs of one vector of pixels.
template <bool kResidual, Clamp kClamp>
NIWAKI_INLINE void store_group(Ints s0, Ints s1, Ints s2, Ints s3, const float* multiplier, const Limits& limits,
                               const uint8_t* residual, uint8_t* out) {
  Ints r = limits.residual_zero;
  if constexpr (kResidual) r = load(residual);
  const Ints q0 = rounded<kResidual, kClamp>(s0, set_floats(multiplier[0]), limits, channel_of<0>(r));
  const Ints q1 = rounded<kResidual, kClamp>(s1, set_floats(multiplier[1]), limits, channel_of<1>(r));
  const Ints q2 = rounded<kResidual, kClamp>(s2, set_floats(multiplier[2]), limits, channel_of<2>(r));
  const Ints q3 = rounded<kResidual, kClamp>(s3, set_floats(multiplier[3]), limits, channel_of<3>(r));
  store(out, transpose_pixels(pack_four<kClamp>(q0, q1, q2, q3, limits)));
}

}  // namespace
}  // namespace niwaki
