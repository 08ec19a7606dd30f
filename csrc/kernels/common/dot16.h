// Sums of products of small whole numbers, for sixteen columns at once: exact, so the same on every instruction set.
//
// Numbers are stored as codes, kCodes of them in 32 bits: four bytes where an instruction sums products of bytes, two words elsewhere. A row is
// kCodes codes after the other; a group holds as many of each of sixteen columns in 64 bytes, in an order of its own. A code is a number plus
// kCodeOffset, for some instructions take bytes without a sign on one side.
#pragma once

#include "kernels/common/lanes16.h"

namespace niwaki {
namespace {

#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#define NIWAKI_BYTE_CODES 1
constexpr int32_t kCodeOffset = 128;
#elif defined(__ARM_FEATURE_DOTPROD)
#define NIWAKI_BYTE_CODES 1
constexpr int32_t kCodeOffset = 0;
#else
constexpr int32_t kCodeOffset = 0;
#endif

#if defined(NIWAKI_BYTE_CODES)
constexpr bool kByteCodes = true;
constexpr int kCodes = 4;
using Code = uint8_t;
#else
constexpr bool kByteCodes = false;
constexpr int kCodes = 2;
using Code = int16_t;
#endif
constexpr int kGroupBytes = 64;

// Sixteen codes that follow one another.
NIWAKI_INLINE void store_codes(void* to, I32x16 v) {
#if defined(NIWAKI_LANES_AVX512)
  _mm_storeu_si128(static_cast<__m128i*>(to), _mm512_cvtepi32_epi8(reinterpret_cast<__m512i>(v.part[0])));
#elif defined(NIWAKI_LANES_AVX2)
  const auto words = _mm256_permute4x64_epi64(
      _mm256_packs_epi32(reinterpret_cast<__m256i>(v.part[0]), reinterpret_cast<__m256i>(v.part[1])), 0xd8);
  if constexpr (kByteCodes) {
    _mm_storeu_si128(static_cast<__m128i*>(to),
                     _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
  } else {
    _mm256_storeu_si256(static_cast<__m256i*>(to), words);
  }
#else
  int32_t lanes[kSixteen];
  store(lanes, v);
  Code codes[kSixteen];
  for (int i = 0; i < kSixteen; ++i) codes[i] = static_cast<Code>(lanes[i]);
  __builtin_memcpy(to, codes, sizeof(codes));
#endif
}

// Sixteen numbers of up to 15 bits: bytes in two parts, what is above kLowBits of them and those; words as they are.
template <int kLowBits>
NIWAKI_INLINE void store_wide_codes(Code* high, Code* low, I32x16 v) {
  if constexpr (kByteCodes) {
    store_codes(high, shift_right<kLowBits>(v));
    store_codes(low, v & splat((1 << kLowBits) - 1));
  } else {
    store_codes(high, v);
  }
}
// Sixty-four of them.
template <int kLowBits>
NIWAKI_INLINE void store_wide_codes(Code* high, Code* low, const I32x16 (&v)[4]) {
#if defined(NIWAKI_LANES_AVX512) && defined(NIWAKI_BYTE_CODES)
  const auto wide = [&v](int i) { return reinterpret_cast<__m512i>(v[i].part[0]); };
  const __m512i a = _mm512_packus_epi32(wide(0), wide(1)), b = _mm512_packus_epi32(wide(2), wide(3));
  const __m512i bits = _mm512_set1_epi16((1 << kLowBits) - 1);
  // Quads of 128 bits hold four of each vector.
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const auto put = [&order](Code* to, __m512i first, __m512i second) {
    _mm512_storeu_si512(to, _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second)));
  };
  put(high, _mm512_srli_epi16(a, kLowBits), _mm512_srli_epi16(b, kLowBits));
  put(low, _mm512_and_si512(a, bits), _mm512_and_si512(b, bits));
#else
  for (int i = 0; i < 4; ++i) store_wide_codes<kLowBits>(high + i * kSixteen, low + i * kSixteen, v[i]);
#endif
}

// kCodes numbers of each column.
NIWAKI_INLINE void store_group(void* to, const I32x16 (&v)[kCodes]) {
#if defined(NIWAKI_BYTE_CODES)
  const I32x16 byte = splat(255);
  const I32x16 low = (v[0] & byte) | shift_left<8>(v[1] & byte), high = (v[2] & byte) | shift_left<8>(v[3] & byte);
  store(static_cast<int32_t*>(to), low | shift_left<16>(high));
#elif defined(__aarch64__)
  store_codes(to, v[0]);
  store_codes(static_cast<Code*>(to) + kSixteen, v[1]);
#else
  store(static_cast<int32_t*>(to), (v[0] & splat(0xffff)) | shift_left<16>(v[1]));
#endif
}

// A group in registers, and kCodes codes of a row for all of its columns.
#if defined(__aarch64__) && !defined(NIWAKI_BYTE_CODES)
struct CodeGroup {
  int16x4_t even[4], odd[4];
};
using CodesOfRow = int16x4_t;
NIWAKI_INLINE CodeGroup load_group(const void* from) {
  const auto* words = static_cast<const int16_t*>(from);
  CodeGroup group;
  for (int i = 0; i < 4; ++i) group.even[i] = vld1_s16(words + 4 * i), group.odd[i] = vld1_s16(words + kSixteen + 4 * i);
  return group;
}
NIWAKI_INLINE CodesOfRow load_codes(const Code* from) {
  int32_t two;
  __builtin_memcpy(&two, from, sizeof(two));
  return vreinterpret_s16_s32(vdup_n_s32(two));
}
NIWAKI_INLINE I32x16 dot(I32x16 sums, CodesOfRow codes, CodeGroup group) {
  for (int i = 0; i < kParts; ++i) {
    const int32x4_t sum = vmlal_lane_s16(reinterpret_cast<int32x4_t>(sums.part[i]), group.even[i], codes, 0);
    sums.part[i] = reinterpret_cast<IntPart>(vmlal_lane_s16(sum, group.odd[i], codes, 1));
  }
  return sums;
}
#else
using CodeGroup = I32x16;
using CodesOfRow = I32x16;
NIWAKI_INLINE CodeGroup load_group(const void* from) { return load(static_cast<const int32_t*>(from)); }
NIWAKI_INLINE CodesOfRow load_codes(const Code* from) {
  int32_t all;
  __builtin_memcpy(&all, from, sizeof(all));
  return splat(all);
}
NIWAKI_INLINE I32x16 dot(I32x16 sums, CodesOfRow codes, CodeGroup group) {
  for (int i = 0; i < kParts; ++i) {
#if defined(__AVX512VNNI__)
    sums.part[i] = reinterpret_cast<IntPart>(_mm512_dpbusd_epi32(reinterpret_cast<__m512i>(sums.part[i]),
                                                                 reinterpret_cast<__m512i>(codes.part[i]),
                                                                 reinterpret_cast<__m512i>(group.part[i])));
#elif defined(__AVXVNNI__)
    sums.part[i] = reinterpret_cast<IntPart>(_mm256_dpbusd_avx_epi32(reinterpret_cast<__m256i>(sums.part[i]),
                                                                     reinterpret_cast<__m256i>(codes.part[i]),
                                                                     reinterpret_cast<__m256i>(group.part[i])));
#elif defined(NIWAKI_BYTE_CODES)
    sums.part[i] =
        reinterpret_cast<IntPart>(vdotq_s32(reinterpret_cast<int32x4_t>(sums.part[i]), reinterpret_cast<int8x16_t>(codes.part[i]),
                                            reinterpret_cast<int8x16_t>(group.part[i])));
#elif defined(NIWAKI_LANES_AVX2)
    sums.part[i] += reinterpret_cast<IntPart>(
        _mm256_madd_epi16(reinterpret_cast<__m256i>(codes.part[i]), reinterpret_cast<__m256i>(group.part[i])));
#elif defined(__x86_64__)
    sums.part[i] += reinterpret_cast<IntPart>(
        _mm_madd_epi16(reinterpret_cast<__m128i>(codes.part[i]), reinterpret_cast<__m128i>(group.part[i])));
#else
    const IntPart low = (codes.part[i] << 16) >> 16, other = (group.part[i] << 16) >> 16;
    sums.part[i] += low * other + (codes.part[i] >> 16) * (group.part[i] >> 16);
#endif
  }
  return sums;
}
#endif

}  // namespace
}  // namespace niwaki
