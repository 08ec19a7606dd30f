#if defined(__x86_64__) || defined(_M_X64)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512DQ__)
#error "compile this file with the AVX-512 and VNNI flags of cmake/NiwakiCompile.cmake"
#endif

#include <immintrin.h>

#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx512vnni {
namespace {

struct V {
  static constexpr int kLanes = 16, kLaneBytes = 4;
  using Int = __m512i;
  using Float = __m512;
  using Activation = __m512i;
  using Weight = __m512i;
  using WideWeight = __m512i;
  using OneActivation = __m512i;

  static Activation activation(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static Weight weight(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, 4);
    return _mm512_set1_epi32(four);
  }
  // Not the intrinsic: around it GCC 12 copies and spills accumulators that are held in arrays.
  static void mac(Int& acc, Activation a, Weight w) { __asm__("vpdpbusd %2, %1, %0" : "+v"(acc) : "v"(a), "v"(w)); }
  static WideWeight wide_weight(const uint8_t* p) { return _mm512_loadu_si512(p); }
  static OneActivation one_activation(const uint8_t* p) { return weight(p); }
  static void mac_wide(Int& acc, OneActivation a, WideWeight w) { mac(acc, a, w); }
  static void prefetch(const uint8_t* p) { _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0); }

  static Int broadcast(int32_t value) { return _mm512_set1_epi32(value); }
  static Float broadcast(float value) { return _mm512_set1_ps(value); }
  static Int load_int(const void* p) { return _mm512_loadu_si512(p); }
  static void store_int(void* p, Int value) { _mm512_storeu_si512(p, value); }
  static Float load_float(const float* p) { return _mm512_loadu_ps(p); }
  static void store_float(float* p, Float value) { _mm512_storeu_ps(p, value); }
  static Float to_float(Int value) { return _mm512_cvtepi32_ps(value); }
  static Int to_int(Float value) { return _mm512_cvtps_epi32(value); }
  static Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Int add(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static Int subtract(Int a, Int b) { return _mm512_sub_epi32(a, b); }
  static Float maximum(Float a, Float b) { return _mm512_max_ps(a, b); }
  static Float minimum(Float a, Float b) { return _mm512_min_ps(a, b); }
  static Int either(Int a, Int b) { return _mm512_or_si512(a, b); }
  template <int kBits>
  static Int shift_left(Int a) { return _mm512_slli_epi32(a, kBits); }
  template <int J>
  static Int byte(Int a) { return _mm512_and_si512(_mm512_srli_epi32(a, J * 8), _mm512_set1_epi32(255)); }
};

#include "kernels/conv/x86_body.inc"

constexpr int kDenseOutputs = 8, kSparsePitch = 8 * V::kLanes;

}  // namespace

void dense(const DenseTile& tile) {
  switch (tile.vectors) {
    case 1: return dense_tile<1, kDenseOutputs>(tile);
    case 2: return dense_tile<2, kDenseOutputs>(tile);
    default: return dense_tile<3, kDenseOutputs>(tile);
  }
}

void sparse(const SparseTile& tile) {
  switch (tile.vectors) {
    case 1: return sparse_tile<1, kSparsePitch>(tile);
    case 2: return sparse_tile<2, kSparsePitch>(tile);
    case 3: return sparse_tile<3, kSparsePitch>(tile);
    case 4: return sparse_tile<4, kSparsePitch>(tile);
    case 5: return sparse_tile<5, kSparsePitch>(tile);
    case 6: return sparse_tile<6, kSparsePitch>(tile);
    case 7: return sparse_tile<7, kSparsePitch>(tile);
    default: return sparse_tile<8, kSparsePitch>(tile);
  }
}

void linear(const LinearTile& tile) {
  switch (tile.images) {
    case 1: return linear_tile<1, 4>(tile);
    case 2: return linear_tile<2, 4>(tile);
    case 3: return linear_tile<3, 4>(tile);
    case 4: return linear_tile<4, 4>(tile);
    case 5: return linear_tile<5, 4>(tile);
    default: return linear_tile<6, 4>(tile);
  }
}

void fill(const PanelFill& fill) {
  const __m512i zeros = _mm512_set1_epi32(static_cast<int32_t>(fill.zeros));
  const int taps = fill.kernel_h * fill.kernel_w;
  for (int tap = 0; tap < taps; ++tap) {
    const int32_t* rows = fill.rows + tap / fill.kernel_w * fill.pitch;
    const int32_t* columns = fill.columns + tap % fill.kernel_w * fill.pitch;
    for (int v = 0; v < fill.vectors; ++v) {
      const __m512i lanes = _mm512_add_epi32(_mm512_loadu_si512(rows + v * 16), _mm512_loadu_si512(columns + v * 16));
      const __mmask16 inside = _mm512_cmpge_epi32_mask(lanes, _mm512_setzero_si512());
      uint8_t* to = fill.panel + tap * fill.row_bytes + v * 64;
      const int64_t step = taps * fill.row_bytes;
      const uint8_t* plane = fill.in;
      if (fill.shifted) {
        plane += (fill.first_pixel + v * 16 + fill.shifts[tap]) * 4;
        for (int group = 0; group < fill.groups; ++group, to += step, plane += fill.group_stride)
          _mm512_storeu_si512(to, _mm512_mask_loadu_epi32(zeros, inside, plane));
      } else if (inside == 0) {
        for (int group = 0; group < fill.groups; ++group, to += step) _mm512_storeu_si512(to, zeros);
      } else {
        for (int group = 0; group < fill.groups; ++group, to += step, plane += fill.group_stride)
          _mm512_storeu_si512(to, _mm512_mask_i32gather_epi32(zeros, inside, lanes, plane, 4));
      }
    }
  }
}

}  // namespace niwaki::conv_avx512vnni
#endif
