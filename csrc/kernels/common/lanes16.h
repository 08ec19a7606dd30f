// Sixteen float32 or int32, in as many registers as the instruction set needs for them: what float kernels are written in, once for all
// instruction sets. Every function gives the same bits on each of them; only which NaN a NaN is may differ.
//
// A sum of many elements is sixteen partial sums, element i in sum i % 16, which sum_of() adds in a fixed order: so no sum depends on the
// width of a register.
//
// Everything here has internal linkage, so that no code leaves a file for CPUs that can't run it.
#pragma once

#include <stdint.h>

#include "kernels/common/fused.h"
#include "kernels/common/inline.h"

#if !defined(__GNUC__)
#error "Float kernels need the vector types of GCC and Clang. On Windows, build with clang-cl."
#endif
#if defined(__aarch64__)
#include <arm_neon.h>
#elif defined(__x86_64__)
#include <immintrin.h>
#endif

namespace niwaki {
namespace {

constexpr int kSixteen = 16;

// Lanes of a register.
#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define NIWAKI_LANES_AVX512 1
constexpr int kPartLanes = 16;
#elif defined(__AVX2__)
#define NIWAKI_LANES_AVX2 1
constexpr int kPartLanes = 8;
#else
constexpr int kPartLanes = 4;
#endif
constexpr int kParts = kSixteen / kPartLanes;
using FloatPart = float __attribute__((vector_size(kPartLanes * 4)));
using IntPart = int32_t __attribute__((vector_size(kPartLanes * 4)));

struct F32x16 {
  FloatPart part[kParts];
};
struct I32x16 {
  IntPart part[kParts];
};
struct Mask16 {  // of each lane all bits or none
  IntPart part[kParts];
};

// `expression` of part i, for each part: a loop that compilers unroll.
#define NIWAKI_EACH_PART(Result, expression)                      \
  Result result;                                                  \
  for (int i = 0; i < kParts; ++i) result.part[i] = (expression); \
  return result

// ---- load, store ----

NIWAKI_INLINE F32x16 splat(float value) { NIWAKI_EACH_PART(F32x16, value - FloatPart{}); }
NIWAKI_INLINE I32x16 splat(int32_t value) { NIWAKI_EACH_PART(I32x16, value - IntPart{}); }

template <typename Sixteen, typename T>
NIWAKI_INLINE Sixteen load_parts(const T* from) {
  Sixteen result;
  for (int i = 0; i < kParts; ++i) __builtin_memcpy(&result.part[i], from + i * kPartLanes, sizeof(result.part[i]));
  return result;
}
template <typename Sixteen, typename T>
NIWAKI_INLINE void store_parts(T* to, Sixteen v) {
  for (int i = 0; i < kParts; ++i) __builtin_memcpy(to + i * kPartLanes, &v.part[i], sizeof(v.part[i]));
}
NIWAKI_INLINE F32x16 load(const float* from) { return load_parts<F32x16>(from); }
NIWAKI_INLINE I32x16 load(const int32_t* from) { return load_parts<I32x16>(from); }
NIWAKI_INLINE void store(float* to, F32x16 v) { store_parts(to, v); }
NIWAKI_INLINE void store(int32_t* to, I32x16 v) { store_parts(to, v); }

// 0, 1, ... 15
NIWAKI_INLINE I32x16 lane_numbers() {
  static constexpr int32_t kNumbers[kSixteen] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load(kNumbers);
}

// The first `count` (0 to 16) of them; where others are loaded they are `other`, and their memory is neither read nor written.
#if defined(NIWAKI_LANES_AVX512)
NIWAKI_INLINE __mmask16 first_lanes(int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }
NIWAKI_INLINE F32x16 load_first(const float* from, int64_t count, float other = 0.0f) {
  return {{_mm512_mask_loadu_ps(_mm512_set1_ps(other), first_lanes(count), from)}};
}
NIWAKI_INLINE I32x16 load_first(const int32_t* from, int64_t count, int32_t other = 0) {
  return {{reinterpret_cast<IntPart>(_mm512_mask_loadu_epi32(_mm512_set1_epi32(other), first_lanes(count), from))}};
}
NIWAKI_INLINE void store_first(float* to, int64_t count, F32x16 v) { _mm512_mask_storeu_ps(to, first_lanes(count), v.part[0]); }
NIWAKI_INLINE void store_first(int32_t* to, int64_t count, I32x16 v) {
  _mm512_mask_storeu_epi32(to, first_lanes(count), reinterpret_cast<__m512i>(v.part[0]));
}
#elif defined(NIWAKI_LANES_AVX2)
NIWAKI_INLINE __m256i first_lanes(int64_t count, int part) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count) - part * 8), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
NIWAKI_INLINE F32x16 load_first(const float* from, int64_t count, float other = 0.0f) {
  F32x16 result;
  for (int i = 0; i < kParts; ++i) {
    const __m256i mask = first_lanes(count, i);
    result.part[i] = _mm256_blendv_ps(_mm256_set1_ps(other), _mm256_maskload_ps(from + i * 8, mask), _mm256_castsi256_ps(mask));
  }
  return result;
}
NIWAKI_INLINE I32x16 load_first(const int32_t* from, int64_t count, int32_t other = 0) {
  I32x16 result;
  for (int i = 0; i < kParts; ++i) {
    const __m256i mask = first_lanes(count, i);
    result.part[i] =
        reinterpret_cast<IntPart>(_mm256_blendv_epi8(_mm256_set1_epi32(other), _mm256_maskload_epi32(from + i * 8, mask), mask));
  }
  return result;
}
NIWAKI_INLINE void store_first(float* to, int64_t count, F32x16 v) {
  for (int i = 0; i < kParts; ++i) _mm256_maskstore_ps(to + i * 8, first_lanes(count, i), v.part[i]);
}
NIWAKI_INLINE void store_first(int32_t* to, int64_t count, I32x16 v) {
  for (int i = 0; i < kParts; ++i)
    _mm256_maskstore_epi32(to + i * 8, first_lanes(count, i), reinterpret_cast<__m256i>(v.part[i]));
}
#else
template <typename Sixteen, typename T>
NIWAKI_INLINE Sixteen load_first_parts(const T* from, int64_t count, T other) {
  T lanes[kSixteen];
  for (int i = 0; i < kSixteen; ++i) lanes[i] = other;
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  return load(lanes);
}
template <typename Sixteen, typename T>
NIWAKI_INLINE void store_first_parts(T* to, int64_t count, Sixteen v) {
  T lanes[kSixteen];
  store(lanes, v);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
}
NIWAKI_INLINE F32x16 load_first(const float* from, int64_t count, float other = 0.0f) {
  return load_first_parts<F32x16>(from, count, other);
}
NIWAKI_INLINE I32x16 load_first(const int32_t* from, int64_t count, int32_t other = 0) {
  return load_first_parts<I32x16>(from, count, other);
}
NIWAKI_INLINE void store_first(float* to, int64_t count, F32x16 v) { store_first_parts(to, count, v); }
NIWAKI_INLINE void store_first(int32_t* to, int64_t count, I32x16 v) { store_first_parts(to, count, v); }
#endif

// Sixteen bytes as numbers.
NIWAKI_INLINE I32x16 load_bytes(const uint8_t* from) {
#if defined(NIWAKI_LANES_AVX512)
  return {{reinterpret_cast<IntPart>(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))))}};
#elif defined(NIWAKI_LANES_AVX2)
  NIWAKI_EACH_PART(
      I32x16, reinterpret_cast<IntPart>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + i * 8)))));
#else
  int32_t lanes[kSixteen];
  for (int i = 0; i < kSixteen; ++i) lanes[i] = from[i];
  return load(lanes);
#endif
}

// from[index] of each lane.
NIWAKI_INLINE F32x16 gather(const float* from, I32x16 index) {
#if defined(NIWAKI_LANES_AVX512)
  return {{_mm512_i32gather_ps(reinterpret_cast<__m512i>(index.part[0]), from, 4)}};
#elif defined(NIWAKI_LANES_AVX2)
  NIWAKI_EACH_PART(F32x16, _mm256_i32gather_ps(from, reinterpret_cast<__m256i>(index.part[i]), 4));
#else
  int32_t indices[kSixteen];
  float lanes[kSixteen];
  store(indices, index);
  for (int i = 0; i < kSixteen; ++i) lanes[i] = from[indices[i]];
  return load(lanes);
#endif
}

// ---- arithmetic ----

NIWAKI_INLINE F32x16 operator+(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, a.part[i] + b.part[i]); }
NIWAKI_INLINE F32x16 operator-(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, a.part[i] - b.part[i]); }
NIWAKI_INLINE F32x16 operator*(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, a.part[i] * b.part[i]); }
NIWAKI_INLINE F32x16 operator/(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, a.part[i] / b.part[i]); }
NIWAKI_INLINE F32x16 operator-(F32x16 a) { NIWAKI_EACH_PART(F32x16, -a.part[i]); }

// Integers wrap around.
using UintPart = uint32_t __attribute__((vector_size(kPartLanes * 4)));
#define NIWAKI_WRAPPING(a, op, b) reinterpret_cast<IntPart>(reinterpret_cast<UintPart>(a) op reinterpret_cast<UintPart>(b))
NIWAKI_INLINE I32x16 operator+(I32x16 a, I32x16 b) { NIWAKI_EACH_PART(I32x16, NIWAKI_WRAPPING(a.part[i], +, b.part[i])); }
NIWAKI_INLINE I32x16 operator-(I32x16 a, I32x16 b) { NIWAKI_EACH_PART(I32x16, NIWAKI_WRAPPING(a.part[i], -, b.part[i])); }
NIWAKI_INLINE I32x16 operator*(I32x16 a, I32x16 b) { NIWAKI_EACH_PART(I32x16, NIWAKI_WRAPPING(a.part[i], *, b.part[i])); }
#undef NIWAKI_WRAPPING
NIWAKI_INLINE I32x16 operator&(I32x16 a, I32x16 b) { NIWAKI_EACH_PART(I32x16, a.part[i] & b.part[i]); }
NIWAKI_INLINE I32x16 operator|(I32x16 a, I32x16 b) { NIWAKI_EACH_PART(I32x16, a.part[i] | b.part[i]); }
NIWAKI_INLINE I32x16 operator^(I32x16 a, I32x16 b) { NIWAKI_EACH_PART(I32x16, a.part[i] ^ b.part[i]); }
template <int kBits>
NIWAKI_INLINE I32x16 shift_left(I32x16 a) {
  NIWAKI_EACH_PART(I32x16, reinterpret_cast<IntPart>(reinterpret_cast<UintPart>(a.part[i]) << kBits));
}
template <int kBits>  // the sign moves in
NIWAKI_INLINE I32x16 shift_right(I32x16 a) {
  NIWAKI_EACH_PART(I32x16, a.part[i] >> kBits);
}

// ---- compare, select ----

// Comparisons with NaN are false, but for not_equal.
NIWAKI_INLINE Mask16 less(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(Mask16, a.part[i] < b.part[i]); }
NIWAKI_INLINE Mask16 less_equal(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(Mask16, a.part[i] <= b.part[i]); }
NIWAKI_INLINE Mask16 equal(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(Mask16, a.part[i] == b.part[i]); }
NIWAKI_INLINE Mask16 not_equal(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(Mask16, a.part[i] != b.part[i]); }
NIWAKI_INLINE Mask16 less(I32x16 a, I32x16 b) { NIWAKI_EACH_PART(Mask16, a.part[i] < b.part[i]); }
NIWAKI_INLINE Mask16 equal(I32x16 a, I32x16 b) { NIWAKI_EACH_PART(Mask16, a.part[i] == b.part[i]); }
NIWAKI_INLINE Mask16 is_nan(F32x16 a) { return not_equal(a, a); }

NIWAKI_INLINE Mask16 operator&(Mask16 a, Mask16 b) { NIWAKI_EACH_PART(Mask16, a.part[i] & b.part[i]); }
NIWAKI_INLINE Mask16 operator|(Mask16 a, Mask16 b) { NIWAKI_EACH_PART(Mask16, a.part[i] | b.part[i]); }
NIWAKI_INLINE Mask16 operator~(Mask16 a) { NIWAKI_EACH_PART(Mask16, ~a.part[i]); }
NIWAKI_INLINE bool any(Mask16 mask) {
  IntPart all = mask.part[0];
  for (int i = 1; i < kParts; ++i) all |= mask.part[i];
#if defined(NIWAKI_LANES_AVX512)
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(all)) != 0;
#elif defined(NIWAKI_LANES_AVX2)
  return _mm256_movemask_ps(reinterpret_cast<__m256>(all)) != 0;
#elif defined(__x86_64__)
  return _mm_movemask_ps(reinterpret_cast<__m128>(all)) != 0;
#elif defined(__aarch64__)
  return vmaxvq_u32(reinterpret_cast<uint32x4_t>(all)) != 0;
#else
  return (all[0] | all[1] | all[2] | all[3]) != 0;
#endif
}

NIWAKI_INLINE F32x16 select(Mask16 mask, F32x16 yes, F32x16 no) {
  NIWAKI_EACH_PART(F32x16, mask.part[i] ? yes.part[i] : no.part[i]);
}
NIWAKI_INLINE I32x16 select(Mask16 mask, I32x16 yes, I32x16 no) {
  NIWAKI_EACH_PART(I32x16, mask.part[i] ? yes.part[i] : no.part[i]);
}

// a > b ? a : b and a < b ? a : b: of a NaN and a number these give b. Compilers do not see x86's instructions in that.
#if defined(NIWAKI_LANES_AVX512)
NIWAKI_INLINE F32x16 greater_of(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, _mm512_max_ps(a.part[i], b.part[i])); }
NIWAKI_INLINE F32x16 lesser_of(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, _mm512_min_ps(a.part[i], b.part[i])); }
#elif defined(NIWAKI_LANES_AVX2)
NIWAKI_INLINE F32x16 greater_of(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, _mm256_max_ps(a.part[i], b.part[i])); }
NIWAKI_INLINE F32x16 lesser_of(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, _mm256_min_ps(a.part[i], b.part[i])); }
#elif defined(__x86_64__)
NIWAKI_INLINE F32x16 greater_of(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, _mm_max_ps(a.part[i], b.part[i])); }
NIWAKI_INLINE F32x16 lesser_of(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, _mm_min_ps(a.part[i], b.part[i])); }
#else
NIWAKI_INLINE F32x16 greater_of(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, a.part[i] > b.part[i] ? a.part[i] : b.part[i]); }
NIWAKI_INLINE F32x16 lesser_of(F32x16 a, F32x16 b) { NIWAKI_EACH_PART(F32x16, a.part[i] < b.part[i] ? a.part[i] : b.part[i]); }
#endif
// As torch.maximum and torch.minimum: NaN where either is.
NIWAKI_INLINE F32x16 maximum(F32x16 a, F32x16 b) { return select(is_nan(a), a, greater_of(a, b)); }
NIWAKI_INLINE F32x16 minimum(F32x16 a, F32x16 b) { return select(is_nan(a), a, lesser_of(a, b)); }

// ---- bits, conversions, rounding ----

NIWAKI_INLINE I32x16 bits_of(F32x16 a) { NIWAKI_EACH_PART(I32x16, reinterpret_cast<IntPart>(a.part[i])); }
NIWAKI_INLINE F32x16 from_bits(I32x16 a) { NIWAKI_EACH_PART(F32x16, reinterpret_cast<FloatPart>(a.part[i])); }
NIWAKI_INLINE I32x16 bits_of(Mask16 a) { NIWAKI_EACH_PART(I32x16, a.part[i]); }
NIWAKI_INLINE F32x16 to_floats(I32x16 a) { NIWAKI_EACH_PART(F32x16, __builtin_convertvector(a.part[i], FloatPart)); }
// Truncates. What does not fit an int32 becomes the lowest one, on x86 alone: keep it from coming here.
NIWAKI_INLINE I32x16 to_ints(F32x16 a) { NIWAKI_EACH_PART(I32x16, __builtin_convertvector(a.part[i], IntPart)); }

constexpr int32_t kSignBit = INT32_MIN;
NIWAKI_INLINE F32x16 abs(F32x16 a) { return from_bits(bits_of(a) & splat(INT32_MAX)); }
NIWAKI_INLINE F32x16 with_sign_of(F32x16 sign, F32x16 magnitude) {
  return from_bits((bits_of(sign) & splat(kSignBit)) | (bits_of(magnitude) & splat(INT32_MAX)));
}

NIWAKI_INLINE F32x16 sqrt(F32x16 a) {
#if defined(NIWAKI_LANES_AVX512)
  NIWAKI_EACH_PART(F32x16, _mm512_sqrt_ps(a.part[i]));
#elif defined(NIWAKI_LANES_AVX2)
  NIWAKI_EACH_PART(F32x16, _mm256_sqrt_ps(a.part[i]));
#elif defined(__aarch64__)
  NIWAKI_EACH_PART(F32x16, reinterpret_cast<FloatPart>(vsqrtq_f32(reinterpret_cast<float32x4_t>(a.part[i]))));
#else
  NIWAKI_EACH_PART(F32x16, _mm_sqrt_ps(a.part[i]));
#endif
}

// To whole numbers; zeros keep their sign.
#if defined(NIWAKI_LANES_AVX512)
NIWAKI_INLINE F32x16 round_even(F32x16 a) { NIWAKI_EACH_PART(F32x16, _mm512_roundscale_ps(a.part[i], 8)); }
NIWAKI_INLINE F32x16 floor(F32x16 a) { NIWAKI_EACH_PART(F32x16, _mm512_roundscale_ps(a.part[i], 9)); }
NIWAKI_INLINE F32x16 ceil(F32x16 a) { NIWAKI_EACH_PART(F32x16, _mm512_roundscale_ps(a.part[i], 10)); }
NIWAKI_INLINE F32x16 trunc(F32x16 a) { NIWAKI_EACH_PART(F32x16, _mm512_roundscale_ps(a.part[i], 11)); }
#elif defined(NIWAKI_LANES_AVX2)
NIWAKI_INLINE F32x16 round_even(F32x16 a) { NIWAKI_EACH_PART(F32x16, _mm256_round_ps(a.part[i], 8)); }
NIWAKI_INLINE F32x16 floor(F32x16 a) { NIWAKI_EACH_PART(F32x16, _mm256_round_ps(a.part[i], 9)); }
NIWAKI_INLINE F32x16 ceil(F32x16 a) { NIWAKI_EACH_PART(F32x16, _mm256_round_ps(a.part[i], 10)); }
NIWAKI_INLINE F32x16 trunc(F32x16 a) { NIWAKI_EACH_PART(F32x16, _mm256_round_ps(a.part[i], 11)); }
#elif defined(__aarch64__)
NIWAKI_INLINE F32x16 round_even(F32x16 a) {
  NIWAKI_EACH_PART(F32x16, reinterpret_cast<FloatPart>(vrndnq_f32(reinterpret_cast<float32x4_t>(a.part[i]))));
}
NIWAKI_INLINE F32x16 floor(F32x16 a) {
  NIWAKI_EACH_PART(F32x16, reinterpret_cast<FloatPart>(vrndmq_f32(reinterpret_cast<float32x4_t>(a.part[i]))));
}
NIWAKI_INLINE F32x16 ceil(F32x16 a) {
  NIWAKI_EACH_PART(F32x16, reinterpret_cast<FloatPart>(vrndpq_f32(reinterpret_cast<float32x4_t>(a.part[i]))));
}
NIWAKI_INLINE F32x16 trunc(F32x16 a) {
  NIWAKI_EACH_PART(F32x16, reinterpret_cast<FloatPart>(vrndq_f32(reinterpret_cast<float32x4_t>(a.part[i]))));
}
#else
NIWAKI_INLINE F32x16 round_even(F32x16 a) {
  const F32x16 two23 = splat(8388608.0f), magnitude = abs(a);  // from there on floats are whole numbers
  return select(less(magnitude, two23), with_sign_of(a, (magnitude + two23) - two23), a);
}
NIWAKI_INLINE F32x16 floor(F32x16 a) {
  const F32x16 near = round_even(a);
  return select(less(a, near), near - splat(1.0f), near);
}
NIWAKI_INLINE F32x16 ceil(F32x16 a) { return -floor(-a); }
NIWAKI_INLINE F32x16 trunc(F32x16 a) { return with_sign_of(a, floor(abs(a))); }
#endif

// ---- fused ----

// a * b + c, rounded once.
#if defined(NIWAKI_LANES_AVX512)
NIWAKI_INLINE F32x16 multiply_add(F32x16 a, F32x16 b, F32x16 c) {
  NIWAKI_EACH_PART(F32x16, _mm512_fmadd_ps(a.part[i], b.part[i], c.part[i]));
}
#elif defined(NIWAKI_LANES_AVX2)
NIWAKI_INLINE F32x16 multiply_add(F32x16 a, F32x16 b, F32x16 c) {
  NIWAKI_EACH_PART(F32x16, _mm256_fmadd_ps(a.part[i], b.part[i], c.part[i]));
}
#elif defined(__aarch64__)
NIWAKI_INLINE F32x16 multiply_add(F32x16 a, F32x16 b, F32x16 c) {
  const auto neon = [](FloatPart v) { return reinterpret_cast<float32x4_t>(v); };
  NIWAKI_EACH_PART(F32x16, reinterpret_cast<FloatPart>(vfmaq_f32(neon(c.part[i]), neon(a.part[i]), neon(b.part[i]))));
}
#else
// In float64, as fused.h does it; where a lane is one that this does not settle, all go one by one.
NIWAKI_INLINE F32x16 multiply_add(F32x16 a, F32x16 b, F32x16 c) {
  const auto sum = [](__m128 x, __m128 y, __m128 z) { return _mm_cvtps_pd(x) * _mm_cvtps_pd(y) + _mm_cvtps_pd(z); };
  const auto upper = [](__m128 v) { return _mm_movehl_ps(v, v); };
  F32x16 result;
  Mask16 unsettled;
  for (int i = 0; i < kParts; ++i) {
    const __m128d low = sum(a.part[i], b.part[i], c.part[i]), high = sum(upper(a.part[i]), upper(b.part[i]), upper(c.part[i]));
    result.part[i] = _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
    const IntPart bits = __builtin_shufflevector(reinterpret_cast<IntPart>(low), reinterpret_cast<IntPart>(high), 0, 2, 4, 6);
    const IntPart magnitude = reinterpret_cast<IntPart>(result.part[i]) & INT32_MAX;
    unsettled.part[i] = ((bits & kDroppedBits) == kDroppedHalf) | (magnitude <= 0x00800000);  // the least normal number
  }
  if (!any(unsettled)) return result;
  float lanes[3][kSixteen];
  store(lanes[0], a), store(lanes[1], b), store(lanes[2], c);
  for (int i = 0; i < kSixteen; ++i) lanes[0][i] = multiply_add(lanes[0][i], lanes[1][i], lanes[2][i]);
  return load(lanes[0]);
}
#endif

// sums[i] = factor * x[i] + sums[i], rounded once.
NIWAKI_INLINE void add_products(float factor, const float* x, float* sums, int64_t count) {
  int64_t i = 0;
  for (; i + kSixteen <= count; i += kSixteen) store(sums + i, multiply_add(splat(factor), load(x + i), load(sums + i)));
  for (; i < count; ++i) sums[i] = multiply_add(factor, x[i], sums[i]);
}

// ---- over the lanes ----

using FloatQuad = float __attribute__((vector_size(16)));

template <int kQuad>
NIWAKI_INLINE FloatQuad quad_of(F32x16 v) {
  constexpr int kFirst = kQuad * 4 % kPartLanes;
  const FloatPart part = v.part[kQuad * 4 / kPartLanes];
  return __builtin_shufflevector(part, part, kFirst, kFirst + 1, kFirst + 2, kFirst + 3);
}

// Four floats from each of four places.
NIWAKI_INLINE F32x16 load_quads(const float* a, const float* b, const float* c, const float* d) {
  const float* const places[4] = {a, b, c, d};
  FloatQuad q[4];
  for (int i = 0; i < 4; ++i) __builtin_memcpy(&q[i], places[i], sizeof(q[i]));
#if defined(NIWAKI_LANES_AVX512) || defined(NIWAKI_LANES_AVX2)
  const auto low = __builtin_shufflevector(q[0], q[1], 0, 1, 2, 3, 4, 5, 6, 7);
  const auto high = __builtin_shufflevector(q[2], q[3], 0, 1, 2, 3, 4, 5, 6, 7);
#endif
#if defined(NIWAKI_LANES_AVX512)
  return {{__builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)}};
#elif defined(NIWAKI_LANES_AVX2)
  return {{low, high}};
#else
  return {{q[0], q[1], q[2], q[3]}};
#endif
}

// Of every quad two elements of a, then two of b.
template <int kA0, int kA1, int kB0, int kB1>
NIWAKI_INLINE F32x16 two_of_each(F32x16 a, F32x16 b) {
#define NIWAKI_QUAD(q) q * 4 + kA0, q * 4 + kA1, kPartLanes + q * 4 + kB0, kPartLanes + q * 4 + kB1
  F32x16 result;
  for (int i = 0; i < kParts; ++i) {
#if defined(NIWAKI_LANES_AVX512)
    result.part[i] =
        __builtin_shufflevector(a.part[i], b.part[i], NIWAKI_QUAD(0), NIWAKI_QUAD(1), NIWAKI_QUAD(2), NIWAKI_QUAD(3));
#elif defined(NIWAKI_LANES_AVX2)
    result.part[i] = __builtin_shufflevector(a.part[i], b.part[i], NIWAKI_QUAD(0), NIWAKI_QUAD(1));
#else
    result.part[i] = __builtin_shufflevector(a.part[i], b.part[i], NIWAKI_QUAD(0));
#endif
  }
  return result;
#undef NIWAKI_QUAD
}

// Element j of quad q of vector i becomes element i of quad q of vector j.
NIWAKI_INLINE void transpose_quads(F32x16 (&v)[4]) {
  const F32x16 low01 = two_of_each<0, 1, 0, 1>(v[0], v[1]), low23 = two_of_each<0, 1, 0, 1>(v[2], v[3]);
  const F32x16 high01 = two_of_each<2, 3, 2, 3>(v[0], v[1]), high23 = two_of_each<2, 3, 2, 3>(v[2], v[3]);
  v[0] = two_of_each<0, 2, 0, 2>(low01, low23);
  v[1] = two_of_each<1, 3, 1, 3>(low01, low23);
  v[2] = two_of_each<0, 2, 0, 2>(high01, high23);
  v[3] = two_of_each<1, 3, 1, 3>(high01, high23);
}

// Lanes i and i + 8, of these i and i + 4, then i and i + 2, then the last two. `function` takes and gives FloatQuad.
template <typename Function>
NIWAKI_INLINE float fold(F32x16 v, const Function& function) {
  const FloatQuad four = function(function(quad_of<0>(v), quad_of<2>(v)), function(quad_of<1>(v), quad_of<3>(v)));
  const FloatQuad two = function(four, __builtin_shufflevector(four, four, 2, 3, 2, 3));
  return function(two, __builtin_shufflevector(two, two, 1, 1, 1, 1))[0];
}
NIWAKI_INLINE float sum_of(F32x16 v) {
  return fold(v, [](FloatQuad a, FloatQuad b) { return a + b; });
}
NIWAKI_INLINE int32_t sum_of(I32x16 v) {
#if defined(NIWAKI_LANES_AVX512)
  return _mm512_reduce_add_epi32(reinterpret_cast<__m512i>(v.part[0]));
#else
  IntPart all = v.part[0];
  for (int i = 1; i < kParts; ++i) all += v.part[i];
  int32_t sum = 0;
  for (int i = 0; i < kPartLanes; ++i) sum += all[i];
  return sum;
#endif
}
// Of numbers; NaN are left to the caller.
NIWAKI_INLINE float greatest_of(F32x16 v) {
  return fold(v, [](FloatQuad a, FloatQuad b) { return a > b ? a : b; });
}
NIWAKI_INLINE float least_of(F32x16 v) {
  return fold(v, [](FloatQuad a, FloatQuad b) { return a < b ? a : b; });
}

#undef NIWAKI_EACH_PART

}  // namespace
}  // namespace niwaki
