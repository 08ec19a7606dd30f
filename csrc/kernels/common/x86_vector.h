// The vector operations of vector.h on x86, at the width that the including file is compiled for: 512 bits with
// AVX512-VNNI, 256 with AVX2. Only files of one instruction set include this; everything here has internal linkage, so that no
// code leaves a file for CPUs that can't run it.
//
// "In order of the unpacks": four vectors of 32-bit items that one vector of bytes widens to. Inside each 128 bits vector 0
// holds bytes 0-3 (a pixel's four channels), vector 1 bytes 4-7 and so on; packing twice restores the bytes' order.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "kernels/common/inline.h"

#if !defined(__AVX2__)
#error "This file needs the flags of an instruction set: niwaki_isa_flags() gives them by the file's name."
#endif

namespace niwaki {
namespace {

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

constexpr int kLanes = 16;  // pixels of a vector
using Ints = __m512i;
using Floats = __m512;
using Mask = __mmask16;

NIWAKI_INLINE Ints load(const void* from) { return _mm512_loadu_si512(from); }
NIWAKI_INLINE void store(void* to, Ints v) { _mm512_storeu_si512(to, v); }
NIWAKI_INLINE Ints load_masked(const void* from, Mask mask, Ints other) { return _mm512_mask_loadu_epi32(other, mask, from); }
NIWAKI_INLINE void store_masked(void* to, Mask mask, Ints v) { _mm512_mask_storeu_epi32(to, mask, v); }
NIWAKI_INLINE Ints choose(Mask mask, Ints v, Ints other) { return _mm512_mask_blend_epi32(mask, other, v); }
// The last kCount lanes of `before`, then the first ones of v.
template <int kCount>
NIWAKI_INLINE Ints shift_in(Ints before, Ints v) {
  return _mm512_alignr_epi32(v, before, kLanes - kCount);
}
NIWAKI_INLINE Floats load_floats(const float* from, Mask mask) { return _mm512_maskz_loadu_ps(mask, from); }
NIWAKI_INLINE void store_floats(float* to, Mask mask, Floats v) { _mm512_mask_storeu_ps(to, mask, v); }
NIWAKI_INLINE Floats load_floats(const float* from) { return _mm512_loadu_ps(from); }
NIWAKI_INLINE void store_floats(float* to, Floats v) { _mm512_storeu_ps(to, v); }
NIWAKI_INLINE Mask mask_of(uint32_t bits) { return static_cast<Mask>(bits); }
NIWAKI_INLINE Ints gather(const void* from, Ints indices, Mask mask, Ints other) {
  return _mm512_mask_i32gather_epi32(other, mask, indices, from, 4);
}
NIWAKI_INLINE Ints lane_numbers() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
NIWAKI_INLINE Ints even_lanes(Ints a, Ints b) {
  return _mm512_permutex2var_epi32(a, _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30), b);
}
NIWAKI_INLINE Ints odd_lanes(Ints a, Ints b) {
  return _mm512_permutex2var_epi32(a, _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31), b);
}

NIWAKI_INLINE Ints set_bytes(int v) { return _mm512_set1_epi8(static_cast<char>(v)); }
NIWAKI_INLINE Ints set_words(int v) { return _mm512_set1_epi16(static_cast<int16_t>(v)); }
NIWAKI_INLINE Ints set_ints(int32_t v) { return _mm512_set1_epi32(v); }
NIWAKI_INLINE Floats set_floats(float v) { return _mm512_set1_ps(v); }
NIWAKI_INLINE Ints repeat(__m128i v) { return _mm512_broadcast_i32x4(v); }
NIWAKI_INLINE Floats repeat(__m128 v) { return _mm512_broadcast_f32x4(v); }

NIWAKI_INLINE Ints widen_bytes(__m128i v) { return _mm512_cvtepu8_epi32(v); }
// A byte, and 16 bits, for each lane.
NIWAKI_INLINE Ints load_bytes(const uint8_t* from) {
  return widen_bytes(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
NIWAKI_INLINE Ints load_words(const uint8_t* from) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}
NIWAKI_INLINE Ints shuffle_bytes(Ints v, Ints order) { return _mm512_shuffle_epi8(v, order); }  // within each 128 bits
NIWAKI_INLINE Ints unpack_low_bytes(Ints a, Ints b) { return _mm512_unpacklo_epi8(a, b); }
NIWAKI_INLINE Ints unpack_high_bytes(Ints a, Ints b) { return _mm512_unpackhi_epi8(a, b); }
NIWAKI_INLINE Ints unpack_low_words(Ints a, Ints b) { return _mm512_unpacklo_epi16(a, b); }
NIWAKI_INLINE Ints unpack_high_words(Ints a, Ints b) { return _mm512_unpackhi_epi16(a, b); }
NIWAKI_INLINE Ints pack_to_words(Ints a, Ints b) { return _mm512_packs_epi32(a, b); }
NIWAKI_INLINE Ints pack_to_bytes(Ints a, Ints b) { return _mm512_packus_epi16(a, b); }
NIWAKI_INLINE Ints max_bytes(Ints a, Ints b) { return _mm512_max_epu8(a, b); }
NIWAKI_INLINE Ints min_bytes(Ints a, Ints b) { return _mm512_min_epu8(a, b); }
NIWAKI_INLINE Ints add_words(Ints a, Ints b) { return _mm512_add_epi16(a, b); }
NIWAKI_INLINE Ints add_words_saturated(Ints a, Ints b) { return _mm512_adds_epi16(a, b); }
NIWAKI_INLINE Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
NIWAKI_INLINE Ints sub_ints(Ints a, Ints b) { return _mm512_sub_epi32(a, b); }
NIWAKI_INLINE Ints mul_ints(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
NIWAKI_INLINE Ints bits_and(Ints a, Ints b) { return _mm512_and_si512(a, b); }
NIWAKI_INLINE Ints bits_or(Ints a, Ints b) { return _mm512_or_si512(a, b); }
template <int kBits>
NIWAKI_INLINE Ints shift_left(Ints a) {
  return _mm512_slli_epi32(a, kBits);
}
template <int kBits>
NIWAKI_INLINE Ints shift_right(Ints a) {
  return _mm512_srli_epi32(a, kBits);
}
template <int kBits>  // the sign moves in
NIWAKI_INLINE Ints shift_right_signed(Ints a) {
  return _mm512_srai_epi32(a, kBits);
}
// Products of signed 16-bit words, added in pairs: a 32-bit sum for each pair.
NIWAKI_INLINE Ints multiply_pairs(Ints a, Ints b) { return _mm512_madd_epi16(a, b); }
// Lanes indices[i], of 0 to kLanes - 1; what other indices give means nothing.
NIWAKI_INLINE Ints permute_lanes(Ints v, Ints indices) { return _mm512_permutexvar_epi32(indices, v); }
// Of each lane, `set` where bit kBit of its index is, `clear` elsewhere.
template <int kBit>
NIWAKI_INLINE Ints by_bit(Ints indices, Ints clear, Ints set) {
  return _mm512_mask_blend_epi32(_mm512_test_epi32_mask(indices, set_ints(1 << kBit)), clear, set);
}
// Lanes indices[i] of a and b, one after the other; only the bits of an index that 2 * kLanes lanes need are looked at.
NIWAKI_INLINE Ints pick_lanes(Ints a, Ints b, Ints indices) { return _mm512_permutex2var_epi32(a, indices, b); }
// Lane kLane of each 128 bits in all four of them.
template <int kLane>
NIWAKI_INLINE Ints repeat_lane(Ints v) {
  return _mm512_shuffle_epi32(v, static_cast<_MM_PERM_ENUM>(kLane * 0x55));
}

NIWAKI_INLINE Floats as_floats(Ints a) { return _mm512_castsi512_ps(a); }
NIWAKI_INLINE Floats to_floats(Ints a) { return _mm512_cvtepi32_ps(a); }
NIWAKI_INLINE Ints round_to_ints(Floats a) { return _mm512_cvtps_epi32(a); }
NIWAKI_INLINE Floats add(Floats a, Floats b) { return _mm512_add_ps(a, b); }
NIWAKI_INLINE Floats sub(Floats a, Floats b) { return _mm512_sub_ps(a, b); }
NIWAKI_INLINE Floats mul(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
NIWAKI_INLINE Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
NIWAKI_INLINE Floats min(Floats a, Floats b) { return _mm512_min_ps(a, b); }

constexpr int kParts = 4;                           // of 128 bits
NIWAKI_INLINE __m128i part_of(Ints v, int index) {  // index is a constant
  switch (index) {
    case 0: return _mm512_castsi512_si128(v);
    case 1: return _mm512_extracti32x4_epi32(v, 1);
    case 2: return _mm512_extracti32x4_epi32(v, 2);
    default: return _mm512_extracti32x4_epi32(v, 3);
  }
}
// Parts 0 .. count - 1, `stride` bytes apart.
NIWAKI_INLINE Ints load_parts(const uint8_t* from, int64_t stride, int count) {
  const auto load_part = [from, stride, count](int i) __attribute__((always_inline)) {
    return i < count ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i * stride)) : _mm_setzero_si128();
  };
  Ints v = _mm512_castsi128_si512(load_part(0));
  v = _mm512_inserti32x4(v, load_part(1), 1);
  v = _mm512_inserti32x4(v, load_part(2), 2);
  return _mm512_inserti32x4(v, load_part(3), 3);
}
// Part j of vector i becomes part i of vector j.
NIWAKI_INLINE void transpose_parts(Ints (&v)[kParts]) {
  const Ints a = _mm512_shuffle_i32x4(v[0], v[1], 0x44), b = _mm512_shuffle_i32x4(v[2], v[3], 0x44);
  const Ints c = _mm512_shuffle_i32x4(v[0], v[1], 0xee), d = _mm512_shuffle_i32x4(v[2], v[3], 0xee);
  v[0] = _mm512_shuffle_i32x4(a, b, 0x88), v[1] = _mm512_shuffle_i32x4(a, b, 0xdd);
  v[2] = _mm512_shuffle_i32x4(c, d, 0x88), v[3] = _mm512_shuffle_i32x4(c, d, 0xdd);
}

#else

constexpr int kLanes = 8;
using Ints = __m256i;
using Floats = __m256;
using Mask = __m256i;

NIWAKI_INLINE Ints load(const void* from) { return _mm256_loadu_si256(static_cast<const __m256i*>(from)); }
NIWAKI_INLINE void store(void* to, Ints v) { _mm256_storeu_si256(static_cast<__m256i*>(to), v); }
NIWAKI_INLINE Ints load_masked(const void* from, Mask mask, Ints other) {
  return _mm256_or_si256(_mm256_maskload_epi32(static_cast<const int*>(from), mask), _mm256_andnot_si256(mask, other));
}
NIWAKI_INLINE void store_masked(void* to, Mask mask, Ints v) { _mm256_maskstore_epi32(static_cast<int*>(to), mask, v); }
NIWAKI_INLINE Ints choose(Mask mask, Ints v, Ints other) { return _mm256_blendv_epi8(other, v, mask); }
template <int kCount>
NIWAKI_INLINE Ints shift_in(Ints before, Ints v) {
  static_assert(kCount < 4);
  return _mm256_alignr_epi8(v, _mm256_permute2x128_si256(before, v, 0x21), 16 - 4 * kCount);
}
NIWAKI_INLINE Floats load_floats(const float* from, Mask mask) { return _mm256_maskload_ps(from, mask); }
NIWAKI_INLINE void store_floats(float* to, Mask mask, Floats v) { _mm256_maskstore_ps(to, mask, v); }
NIWAKI_INLINE Floats load_floats(const float* from) { return _mm256_loadu_ps(from); }
NIWAKI_INLINE void store_floats(float* to, Floats v) { _mm256_storeu_ps(to, v); }
NIWAKI_INLINE Mask mask_of(uint32_t bits) {
  const __m256i one_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), one_bit), one_bit);
}
NIWAKI_INLINE Ints gather(const void* from, Ints indices, Mask mask, Ints other) {
  return _mm256_mask_i32gather_epi32(other, static_cast<const int*>(from), indices, mask, 4);
}
NIWAKI_INLINE Ints lane_numbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
NIWAKI_INLINE Ints even_lanes(Ints a, Ints b) {
  const __m256 mixed = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0x88);
  return _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xd8);
}
NIWAKI_INLINE Ints odd_lanes(Ints a, Ints b) {
  const __m256 mixed = _mm256_shuffle_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), 0xdd);
  return _mm256_permute4x64_epi64(_mm256_castps_si256(mixed), 0xd8);
}

NIWAKI_INLINE Ints set_bytes(int v) { return _mm256_set1_epi8(static_cast<char>(v)); }
NIWAKI_INLINE Ints set_words(int v) { return _mm256_set1_epi16(static_cast<int16_t>(v)); }
NIWAKI_INLINE Ints set_ints(int32_t v) { return _mm256_set1_epi32(v); }
NIWAKI_INLINE Floats set_floats(float v) { return _mm256_set1_ps(v); }
NIWAKI_INLINE Ints repeat(__m128i v) { return _mm256_broadcastsi128_si256(v); }
NIWAKI_INLINE Floats repeat(__m128 v) { return _mm256_set_m128(v, v); }

NIWAKI_INLINE Ints widen_bytes(__m128i v) { return _mm256_cvtepu8_epi32(v); }
NIWAKI_INLINE Ints load_bytes(const uint8_t* from) {
  return widen_bytes(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
}
NIWAKI_INLINE Ints load_words(const uint8_t* from) {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}
NIWAKI_INLINE Ints shuffle_bytes(Ints v, Ints order) { return _mm256_shuffle_epi8(v, order); }
NIWAKI_INLINE Ints unpack_low_bytes(Ints a, Ints b) { return _mm256_unpacklo_epi8(a, b); }
NIWAKI_INLINE Ints unpack_high_bytes(Ints a, Ints b) { return _mm256_unpackhi_epi8(a, b); }
NIWAKI_INLINE Ints unpack_low_words(Ints a, Ints b) { return _mm256_unpacklo_epi16(a, b); }
NIWAKI_INLINE Ints unpack_high_words(Ints a, Ints b) { return _mm256_unpackhi_epi16(a, b); }
NIWAKI_INLINE Ints pack_to_words(Ints a, Ints b) { return _mm256_packs_epi32(a, b); }
NIWAKI_INLINE Ints pack_to_bytes(Ints a, Ints b) { return _mm256_packus_epi16(a, b); }
NIWAKI_INLINE Ints max_bytes(Ints a, Ints b) { return _mm256_max_epu8(a, b); }
NIWAKI_INLINE Ints min_bytes(Ints a, Ints b) { return _mm256_min_epu8(a, b); }
NIWAKI_INLINE Ints add_words(Ints a, Ints b) { return _mm256_add_epi16(a, b); }
NIWAKI_INLINE Ints add_words_saturated(Ints a, Ints b) { return _mm256_adds_epi16(a, b); }
NIWAKI_INLINE Ints add_ints(Ints a, Ints b) { return _mm256_add_epi32(a, b); }
NIWAKI_INLINE Ints sub_ints(Ints a, Ints b) { return _mm256_sub_epi32(a, b); }
NIWAKI_INLINE Ints mul_ints(Ints a, Ints b) { return _mm256_mullo_epi32(a, b); }
NIWAKI_INLINE Ints bits_and(Ints a, Ints b) { return _mm256_and_si256(a, b); }
NIWAKI_INLINE Ints bits_or(Ints a, Ints b) { return _mm256_or_si256(a, b); }
template <int kBits>
NIWAKI_INLINE Ints shift_left(Ints a) {
  return _mm256_slli_epi32(a, kBits);
}
template <int kBits>
NIWAKI_INLINE Ints shift_right(Ints a) {
  return _mm256_srli_epi32(a, kBits);
}
template <int kBits>  // the sign moves in
NIWAKI_INLINE Ints shift_right_signed(Ints a) {
  return _mm256_srai_epi32(a, kBits);
}
// Products of signed 16-bit words, added in pairs: a 32-bit sum for each pair.
NIWAKI_INLINE Ints multiply_pairs(Ints a, Ints b) { return _mm256_madd_epi16(a, b); }
// Lanes indices[i], of 0 to kLanes - 1; what other indices give means nothing.
NIWAKI_INLINE Ints permute_lanes(Ints v, Ints indices) { return _mm256_permutevar8x32_epi32(v, indices); }
template <int kBit>
NIWAKI_INLINE Ints by_bit(Ints indices, Ints clear, Ints set) {
  return _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(clear), _mm256_castsi256_ps(set),
                                              _mm256_castsi256_ps(_mm256_slli_epi32(indices, 31 - kBit))));
}
NIWAKI_INLINE Ints pick_lanes(Ints a, Ints b, Ints indices) {
  return by_bit<3>(indices, _mm256_permutevar8x32_epi32(a, indices), _mm256_permutevar8x32_epi32(b, indices));
}
// Lane kLane of each 128 bits in all four of them.
template <int kLane>
NIWAKI_INLINE Ints repeat_lane(Ints v) {
  return _mm256_shuffle_epi32(v, kLane * 0x55);
}

NIWAKI_INLINE Floats as_floats(Ints a) { return _mm256_castsi256_ps(a); }
NIWAKI_INLINE Floats to_floats(Ints a) { return _mm256_cvtepi32_ps(a); }
NIWAKI_INLINE Ints round_to_ints(Floats a) { return _mm256_cvtps_epi32(a); }
NIWAKI_INLINE Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
NIWAKI_INLINE Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
NIWAKI_INLINE Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
NIWAKI_INLINE Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
NIWAKI_INLINE Floats min(Floats a, Floats b) { return _mm256_min_ps(a, b); }

constexpr int kParts = 2;
NIWAKI_INLINE __m128i part_of(Ints v, int index) {
  return index == 0 ? _mm256_castsi256_si128(v) : _mm256_extracti128_si256(v, 1);
}
NIWAKI_INLINE Ints load_parts(const uint8_t* from, int64_t stride, int count) {
  const __m128i first = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return _mm256_set_m128i(count > 1 ? _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + stride)) : first, first);
}
NIWAKI_INLINE void transpose_parts(Ints (&v)[kParts]) {
  const Ints first = v[0];
  v[0] = _mm256_permute2x128_si256(first, v[1], 0x20), v[1] = _mm256_permute2x128_si256(first, v[1], 0x31);
}

#endif

// A whole vector to choose() from: a Zen 5 takes longer for a masked operand in memory, which is what the compiler would make of the two.
NIWAKI_INLINE Ints load_apart(const void* from) {
  Ints v = load(from);
  __asm__("" : "+v"(v));
  return v;
}

// Four bytes in every lane.
NIWAKI_INLINE Ints set_lanes(const uint8_t* from) {
  int32_t four;
  __builtin_memcpy(&four, from, 4);
  return set_ints(four);
}

// Channel kChannel of each pixel.
template <int kChannel>
NIWAKI_INLINE Ints channel_of(Ints pixels) {
#if defined(__AVX512BW__)
  constexpr uint32_t kFirst = 0x80808000u + kChannel;  // one shuffle instead of a shift and a mask
  return shuffle_bytes(pixels, repeat(_mm_setr_epi32(static_cast<int32_t>(kFirst), static_cast<int32_t>(kFirst + 4),
                                                     static_cast<int32_t>(kFirst + 8), static_cast<int32_t>(kFirst + 12))));
#else
  return bits_and(shift_right<kChannel * 8>(pixels), set_ints(255));
#endif
}

// In each 128 bits: four pixels of a channel after four of the one before, and four channels of a pixel after four of the one before.
NIWAKI_INLINE Ints transpose_pixels(Ints bytes) {
  return shuffle_bytes(bytes, repeat(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)));
}

NIWAKI_INLINE void prefetch(const uint8_t* from) { _mm_prefetch(reinterpret_cast<const char*>(from), _MM_HINT_T0); }
NIWAKI_INLINE void prefetch_for_writing(uint8_t* to) { __asm__ volatile("prefetchw %0" : : "m"(*to)); }

// Four lanes: the channels of one pixel.
namespace quad {

using Ints = __m128i;
using Floats = __m128;

NIWAKI_INLINE Ints set(int32_t v) { return _mm_set1_epi32(v); }
NIWAKI_INLINE Floats set(float v) { return _mm_set1_ps(v); }
NIWAKI_INLINE Ints load_ints(const void* from) { return _mm_loadu_si128(static_cast<const __m128i*>(from)); }
NIWAKI_INLINE Floats load_floats(const float* from) { return _mm_loadu_ps(from); }
// Four bytes, as they are or widened.
NIWAKI_INLINE Ints load_pixel(const uint8_t* from) { return _mm_loadu_si32(from); }
NIWAKI_INLINE Ints widen_pixel(const uint8_t* from) { return _mm_cvtepu8_epi32(_mm_loadu_si32(from)); }
NIWAKI_INLINE void store_pixel(uint8_t* to, Ints v) { _mm_storeu_si32(to, v); }
NIWAKI_INLINE Ints add(Ints a, Ints b) { return _mm_add_epi32(a, b); }
NIWAKI_INLINE Ints max_bytes(Ints a, Ints b) { return _mm_max_epu8(a, b); }
NIWAKI_INLINE Floats to_floats(Ints a) { return _mm_cvtepi32_ps(a); }
NIWAKI_INLINE Ints round_to_ints(Floats a) { return _mm_cvtps_epi32(a); }
NIWAKI_INLINE Floats mul(Floats a, Floats b) { return _mm_mul_ps(a, b); }
NIWAKI_INLINE Floats max(Floats a, Floats b) { return _mm_max_ps(a, b); }
NIWAKI_INLINE Floats min(Floats a, Floats b) { return _mm_min_ps(a, b); }
// Four numbers of 0 to 255 to the bytes of a pixel.
NIWAKI_INLINE Ints narrow(Ints a) { return _mm_packus_epi16(_mm_packs_epi32(a, a), a); }

}  // namespace quad

// Adds, in each 128 bits, the pixels there to the sums of the four channels.
NIWAKI_INLINE Ints add_pixels(Ints sums, Ints pixels) {
#if defined(__AVX512VNNI__)
  const Ints four = transpose_pixels(pixels), ones = set_bytes(1);
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(four), "v"(ones));
  return sums;
#else
  // Pairs of bytes times one are at most 510: vpmaddubsw is exact here.
  const Ints pairs = _mm256_maddubs_epi16(transpose_pixels(pixels), set_bytes(1));
  return add_ints(sums, _mm256_madd_epi16(pairs, set_words(1)));
#endif
}

// The sums over the 128-bit parts.
NIWAKI_INLINE quad::Ints fold(Ints sums) {
#if defined(__AVX512VNNI__)
  const __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64(sums, 1));
#else
  const __m256i half = sums;
#endif
  return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

// round(clamp(t)) + zero. Rounding keeps order and the bounds are whole numbers, so the lower bound may be applied to bytes;
// the upper one comes first because what is too large for an int32 would convert to the smallest one.
struct Finish {
  Floats high;
  Ints zero_words, low_bytes;
  static NIWAKI_MEMBER Finish of(int32_t zero, int32_t low, int32_t high) {
    return {set_floats(static_cast<float>(high - zero)), set_words(zero), set_bytes(low)};
  }
  // min(bound, t) and not the other way: what is not a number stays that, and converts to the smallest integer.
  NIWAKI_MEMBER Ints rounded(Floats t) const { return round_to_ints(min(high, t)); }
  NIWAKI_MEMBER Ints bounded(Ints bytes) const { return max_bytes(bytes, low_bytes); }
};

}  // namespace
}  // namespace niwaki
