// The vector operations of x86_vector.h on Arm: NEON's 128 bits, which every 64-bit Arm CPU has. What "in order of the unpacks" says
// of each 128 bits there holds here of the vector.
#pragma once

#include <arm_neon.h>
#include <stdint.h>

#include "kernels/common/inline.h"

namespace niwaki {
namespace {

constexpr int kLanes = 4;  // pixels of a vector
using Ints = int32x4_t;
using Floats = float32x4_t;
using Mask = uint32_t;  // a bit for each lane: NEON has no masked loads, so a mask is looked at before the load and not in it

NIWAKI_INLINE uint8x16_t bytes_of(Ints v) { return vreinterpretq_u8_s32(v); }
NIWAKI_INLINE Ints ints_of(uint8x16_t v) { return vreinterpretq_s32_u8(v); }
NIWAKI_INLINE int16x8_t words_of(Ints v) { return vreinterpretq_s16_s32(v); }
NIWAKI_INLINE Ints ints_of(int16x8_t v) { return vreinterpretq_s32_s16(v); }

NIWAKI_INLINE Ints load(const void* from) { return ints_of(vld1q_u8(static_cast<const uint8_t*>(from))); }
NIWAKI_INLINE void store(void* to, Ints v) { vst1q_u8(static_cast<uint8_t*>(to), bytes_of(v)); }

template <int kLane>
NIWAKI_INLINE Ints load_lane(const void* from, Mask mask, Ints v) {
  if ((mask >> kLane & 1) == 0) return v;
  int32_t lane;
  __builtin_memcpy(&lane, static_cast<const uint8_t*>(from) + kLane * 4, 4);
  return vsetq_lane_s32(lane, v, kLane);
}
NIWAKI_INLINE Ints load_masked(const void* from, Mask mask, Ints other) {
  if (mask == 15) return load(from);
  return load_lane<3>(from, mask, load_lane<2>(from, mask, load_lane<1>(from, mask, load_lane<0>(from, mask, other))));
}

template <int kLane>
NIWAKI_INLINE void store_lane(void* to, Mask mask, Ints v) {
  const int32_t lane = vgetq_lane_s32(v, kLane);
  if (mask >> kLane & 1) __builtin_memcpy(static_cast<uint8_t*>(to) + kLane * 4, &lane, 4);
}
NIWAKI_INLINE void store_masked(void* to, Mask mask, Ints v) {
  if (mask == 15) return store(to, v);
  store_lane<0>(to, mask, v);
  store_lane<1>(to, mask, v);
  store_lane<2>(to, mask, v);
  store_lane<3>(to, mask, v);
}
NIWAKI_INLINE Ints load_apart(const void* from) { return load(from); }
NIWAKI_INLINE Ints choose(Mask mask, Ints v, Ints other) {
  static constexpr uint32_t kBits[4] = {1, 2, 4, 8};
  return vbslq_s32(vtstq_u32(vdupq_n_u32(mask), vld1q_u32(kBits)), v, other);
}
template <int kCount>
NIWAKI_INLINE Ints shift_in(Ints before, Ints v) {
  return vextq_s32(before, v, 4 - kCount);
}
NIWAKI_INLINE Floats load_floats(const float* from, Mask mask) {
  return vreinterpretq_f32_s32(load_masked(from, mask, vdupq_n_s32(0)));
}
NIWAKI_INLINE void store_floats(float* to, Mask mask, Floats v) { store_masked(to, mask, vreinterpretq_s32_f32(v)); }
NIWAKI_INLINE Mask mask_of(uint32_t bits) { return bits; }

template <int kLane>
NIWAKI_INLINE Ints gather_lane(const void* from, Ints indices, Mask mask, Ints v) {
  if ((mask >> kLane & 1) == 0) return v;
  int32_t lane;
  __builtin_memcpy(&lane, static_cast<const uint8_t*>(from) + int64_t{vgetq_lane_s32(indices, kLane)} * 4, 4);
  return vsetq_lane_s32(lane, v, kLane);
}
NIWAKI_INLINE Ints gather(const void* from, Ints indices, Mask mask, Ints other) {
  const Ints two = gather_lane<1>(from, indices, mask, gather_lane<0>(from, indices, mask, other));
  return gather_lane<3>(from, indices, mask, gather_lane<2>(from, indices, mask, two));
}
NIWAKI_INLINE Ints lane_numbers() {
  static constexpr int32_t kNumbers[4] = {0, 1, 2, 3};
  return vld1q_s32(kNumbers);
}
NIWAKI_INLINE Ints even_lanes(Ints a, Ints b) { return vuzp1q_s32(a, b); }
NIWAKI_INLINE Ints odd_lanes(Ints a, Ints b) { return vuzp2q_s32(a, b); }

NIWAKI_INLINE Ints set_bytes(int v) { return ints_of(vdupq_n_u8(static_cast<uint8_t>(v))); }
NIWAKI_INLINE Ints set_words(int v) { return ints_of(vdupq_n_s16(static_cast<int16_t>(v))); }
NIWAKI_INLINE Ints set_ints(int32_t v) { return vdupq_n_s32(v); }
NIWAKI_INLINE Floats set_floats(float v) { return vdupq_n_f32(v); }

NIWAKI_INLINE Ints unpack_low_bytes(Ints a, Ints b) { return ints_of(vzip1q_u8(bytes_of(a), bytes_of(b))); }
NIWAKI_INLINE Ints unpack_high_bytes(Ints a, Ints b) { return ints_of(vzip2q_u8(bytes_of(a), bytes_of(b))); }
NIWAKI_INLINE Ints unpack_low_words(Ints a, Ints b) { return ints_of(vzip1q_s16(words_of(a), words_of(b))); }
NIWAKI_INLINE Ints unpack_high_words(Ints a, Ints b) { return ints_of(vzip2q_s16(words_of(a), words_of(b))); }
NIWAKI_INLINE Ints pack_to_words(Ints a, Ints b) { return ints_of(vqmovn_high_s32(vqmovn_s32(a), b)); }
NIWAKI_INLINE Ints pack_to_bytes(Ints a, Ints b) { return ints_of(vqmovun_high_s16(vqmovun_s16(words_of(a)), words_of(b))); }
NIWAKI_INLINE Ints max_bytes(Ints a, Ints b) { return ints_of(vmaxq_u8(bytes_of(a), bytes_of(b))); }
NIWAKI_INLINE Ints min_bytes(Ints a, Ints b) { return ints_of(vminq_u8(bytes_of(a), bytes_of(b))); }
NIWAKI_INLINE Ints add_words(Ints a, Ints b) { return ints_of(vaddq_s16(words_of(a), words_of(b))); }
NIWAKI_INLINE Ints add_words_saturated(Ints a, Ints b) { return ints_of(vqaddq_s16(words_of(a), words_of(b))); }
NIWAKI_INLINE Ints add_ints(Ints a, Ints b) { return vaddq_s32(a, b); }
NIWAKI_INLINE Ints sub_ints(Ints a, Ints b) { return vsubq_s32(a, b); }
NIWAKI_INLINE Ints mul_ints(Ints a, Ints b) { return vmulq_s32(a, b); }
NIWAKI_INLINE Ints bits_and(Ints a, Ints b) { return vandq_s32(a, b); }
NIWAKI_INLINE Ints bits_or(Ints a, Ints b) { return vorrq_s32(a, b); }
template <int kBits>
NIWAKI_INLINE Ints shift_left(Ints a) {
  if constexpr (kBits == 0) return a;
  else return vshlq_n_s32(a, kBits);
}
template <int kBits>
NIWAKI_INLINE Ints shift_right(Ints a) {
  if constexpr (kBits == 0) return a;  // the instruction shifts by 1 to 32
  else return vreinterpretq_s32_u32(vshrq_n_u32(vreinterpretq_u32_s32(a), kBits));
}

template <int kBits>  // the sign moves in
NIWAKI_INLINE Ints shift_right_signed(Ints a) {
  return vshrq_n_s32(a, kBits);
}
// Products of signed 16-bit words, added in pairs: a 32-bit sum for each pair.
NIWAKI_INLINE Ints multiply_pairs(Ints a, Ints b) {
  const int16x8_t x = words_of(a), y = words_of(b);
  return vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(y)), vmull_high_s16(x, y));
}
// Lanes indices[i], of 0 to kLanes - 1; what other indices give means nothing.
NIWAKI_INLINE Ints permute_lanes(Ints v, Ints indices) {
  const Ints bytes = vaddq_s32(vmulq_n_s32(indices, 0x04040404), vdupq_n_s32(0x03020100));
  return ints_of(vqtbl1q_u8(bytes_of(v), bytes_of(bytes)));
}
// Lane kLane in all of them.
template <int kLane>
NIWAKI_INLINE Ints repeat_lane(Ints v) {
  return vdupq_laneq_s32(v, kLane);
}

NIWAKI_INLINE Floats as_floats(Ints a) { return vreinterpretq_f32_s32(a); }
NIWAKI_INLINE Floats to_floats(Ints a) { return vcvtq_f32_s32(a); }
NIWAKI_INLINE Ints round_to_ints(Floats a) { return vcvtnq_s32_f32(a); }  // saturates; what is not a number becomes 0
NIWAKI_INLINE Floats add(Floats a, Floats b) { return vaddq_f32(a, b); }
NIWAKI_INLINE Floats sub(Floats a, Floats b) { return vsubq_f32(a, b); }
NIWAKI_INLINE Floats mul(Floats a, Floats b) { return vmulq_f32(a, b); }
// Of a number and what is not one these give the number.
NIWAKI_INLINE Floats max(Floats a, Floats b) { return vmaxnmq_f32(a, b); }
NIWAKI_INLINE Floats min(Floats a, Floats b) { return vminnmq_f32(a, b); }

constexpr int kParts = 1;  // of 128 bits
NIWAKI_INLINE void transpose_parts(Ints (&)[kParts]) {}

// Four lanes: the channels of one pixel. On Arm that is a vector, too.
namespace quad {

using Ints = int32x4_t;
using Floats = float32x4_t;

NIWAKI_INLINE Ints set(int32_t v) { return vdupq_n_s32(v); }
NIWAKI_INLINE Floats set(float v) { return vdupq_n_f32(v); }
NIWAKI_INLINE Ints load_ints(const void* from) { return load(from); }
NIWAKI_INLINE Floats load_floats(const float* from) { return vld1q_f32(from); }
// Four bytes, as they are or widened.
NIWAKI_INLINE Ints load_pixel(const uint8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, 4);
  return vsetq_lane_s32(four, vdupq_n_s32(0), 0);
}
NIWAKI_INLINE Ints widen_pixel(const uint8_t* from) {
  const uint16x8_t words = vmovl_u8(vget_low_u8(bytes_of(load_pixel(from))));
  return vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(words)));
}
NIWAKI_INLINE void store_pixel(uint8_t* to, Ints v) {
  const int32_t four = vgetq_lane_s32(v, 0);
  __builtin_memcpy(to, &four, 4);
}
NIWAKI_INLINE Ints add(Ints a, Ints b) { return vaddq_s32(a, b); }
NIWAKI_INLINE Ints max_bytes(Ints a, Ints b) { return niwaki::max_bytes(a, b); }
NIWAKI_INLINE Floats to_floats(Ints a) { return vcvtq_f32_s32(a); }
NIWAKI_INLINE Ints round_to_ints(Floats a) { return vcvtnq_s32_f32(a); }
NIWAKI_INLINE Floats mul(Floats a, Floats b) { return vmulq_f32(a, b); }
NIWAKI_INLINE Floats max(Floats a, Floats b) { return vmaxnmq_f32(a, b); }
NIWAKI_INLINE Floats min(Floats a, Floats b) { return vminnmq_f32(a, b); }
// Four numbers of 0 to 255 to the bytes of a pixel.
NIWAKI_INLINE Ints narrow(Ints a) { return pack_to_bytes(pack_to_words(a, a), a); }

}  // namespace quad

NIWAKI_INLINE Ints repeat(quad::Ints v) { return v; }
NIWAKI_INLINE Floats repeat(quad::Floats v) { return v; }

// Channel kChannel of each pixel.
template <int kChannel>
NIWAKI_INLINE Ints channel_of(Ints pixels) {
  if constexpr (kChannel == 3) return shift_right<24>(pixels);
  else return bits_and(shift_right<kChannel * 8>(pixels), set_ints(255));
}

// Four pixels of a channel after four of the one before, and four channels of a pixel after four of the one before.
NIWAKI_INLINE Ints transpose_pixels(Ints bytes) {
  static constexpr uint8_t kOrder[16] = {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15};
  return ints_of(vqtbl1q_u8(bytes_of(bytes), vld1q_u8(kOrder)));
}

// Adds the pixels of the vector to the sums of the four channels.
NIWAKI_INLINE Ints add_pixels(Ints sums, Ints pixels) {
  const uint16x8_t pairs = vpaddlq_u8(bytes_of(transpose_pixels(pixels)));
  return vreinterpretq_s32_u32(vpadalq_u16(vreinterpretq_u32_s32(sums), pairs));
}
NIWAKI_INLINE quad::Ints fold(Ints sums) { return sums; }

// round(clamp(t)) + zero. Rounding keeps order and the bounds are whole numbers, so the upper bound may be applied to bytes, and what is too
// large saturates on its way there. The lower bound comes first, because what is not a number has to become it.
struct Finish {
  Floats low;
  Ints zero_words, high_bytes;
  static NIWAKI_MEMBER Finish of(int32_t zero, int32_t low, int32_t high) {
    return {set_floats(static_cast<float>(low - zero)), set_words(zero), set_bytes(high)};
  }
  NIWAKI_MEMBER Ints rounded(Floats t) const { return round_to_ints(max(t, low)); }
  NIWAKI_MEMBER Ints bounded(Ints bytes) const { return min_bytes(bytes, high_bytes); }
};

}  // namespace
}  // namespace niwaki
