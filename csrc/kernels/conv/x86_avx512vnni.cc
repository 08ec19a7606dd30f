#if defined(__x86_64__)
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
  static void prefetch_write(uint8_t* p) { __asm__ volatile("prefetchw %0" : : "m"(*p)); }
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
  // Sixteen bytes to lanes, and lanes of 0..255 to bytes.
  static Int widen_bytes(const void* p) { return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))); }
  static void store_narrow(void* p, Int value) { _mm_storeu_si128(static_cast<__m128i*>(p), _mm512_cvtepi32_epi8(value)); }
  static Int pack_words(Int a, Int b) { return _mm512_packs_epi32(a, b); }
  static Int pack_bytes(Int a, Int b) { return _mm512_packus_epi16(a, b); }
  static Int add_words(Int a, Int b) { return _mm512_adds_epi16(a, b); }
  static Int min_bytes(Int a, Int b) { return _mm512_min_epu8(a, b); }
  static Int max_bytes(Int a, Int b) { return _mm512_max_epu8(a, b); }
  static Int transpose(Int a) {
    return _mm512_shuffle_epi8(a, _mm512_set4_epi32(0x0f0b0703, 0x0e0a0602, 0x0d090501, 0x0c080400));
  }
  // Byte J of each lane: one shuffle instead of a shift and a mask.
  template <int J>
  static Int byte(Int a) {
    constexpr uint32_t kFirst = 0x80808000u + J;
    return _mm512_shuffle_epi8(a, _mm512_set4_epi32(static_cast<int32_t>(kFirst + 12), static_cast<int32_t>(kFirst + 8),
                                                    static_cast<int32_t>(kFirst + 4), static_cast<int32_t>(kFirst)));
  }
};

#include "kernels/conv/x86_body.inc"

constexpr int kDenseOutputs = 8, kSparsePitch = 7 * V::kLanes;

// A single pixel: eight outputs are one vector of 256 bits, whose weights lie beside each other.
class OnePixel {
 public:
  explicit OnePixel(const DenseTile& tile) : sums_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile.bias))) {}

  NIWAKI_INLINE void mac(const uint8_t* pixel, const uint8_t* weights) {
    int32_t four;
    __builtin_memcpy(&four, pixel, 4);
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums_) : "v"(_mm256_set1_epi32(four)), "v"(w));
  }

  void store(const DenseTile& tile) const {
    const ConvOutput& output = tile.output;
    const int64_t pixel = int64_t{tile.vectors} * V::kLanes;
    __m256 t = _mm256_mul_ps(_mm256_cvtepi32_ps(sums_), _mm256_loadu_ps(tile.multiplier));
    if (output.out_float) {
      float floats[kDenseOutputs];
      _mm256_storeu_ps(floats, t);
      for (int o = 0; o < tile.out_groups * 4; ++o) output.out_float[o * output.float_stride + pixel] = floats[o];
      return;
    }
    if (output.residual) {
      int32_t groups[2] = {0, 0};
      for (int g = 0; g < tile.out_groups; ++g)
        __builtin_memcpy(&groups[g], output.residual + g * output.residual_stride + pixel * 4, 4);
      const __m256i q = _mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_setr_epi32(groups[0], groups[1], 0, 0)),
                                         _mm256_set1_epi32(output.residual_zero));
      t = _mm256_add_ps(t, _mm256_mul_ps(_mm256_cvtepi32_ps(q), _mm256_set1_ps(output.residual_scale)));
    }
    t = _mm256_min_ps(_mm256_max_ps(t, _mm256_set1_ps(output.low)), _mm256_set1_ps(output.high));
    const __m128i bytes = _mm256_cvtepi32_epi8(_mm256_add_epi32(_mm256_cvtps_epi32(t), _mm256_set1_epi32(output.out_zero)));
    const int32_t groups[2] = {_mm_extract_epi32(bytes, 0), _mm_extract_epi32(bytes, 1)};
    for (int g = 0; g < tile.out_groups; ++g) __builtin_memcpy(output.out + g * output.out_stride + pixel * 4, &groups[g], 4);
  }

 private:
  __m256i sums_;
};

}  // namespace

void dense(const DenseTile& tile) {
  if (tile.tail) {
    switch (tile.vectors) {
      case 1: return dense_tile<1, kDenseOutputs, OnePixel>(tile);
      case 2: return dense_tile<2, kDenseOutputs, OnePixel>(tile);
      default: return dense_tile<3, kDenseOutputs, OnePixel>(tile);
    }
  }
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
    default: return sparse_tile<7, kSparsePitch>(tile);
  }
}

void wide(const WideTile& tile) {
  switch (tile.pixels) {
    case 1: return wide_tile<1, 4>(tile);
    case 2: return wide_tile<2, 4>(tile);
    case 3: return wide_tile<3, 4>(tile);
    case 4: return wide_tile<4, 4>(tile);
    case 5: return wide_tile<5, 4>(tile);
    default: return wide_tile<6, 4>(tile);
  }
}

namespace {

// Lanes of a vector that lie within 32 neighbouring ones of the input: two loads and a permutation bring them. A strided convolution
// needs one such run for each row of the image that the vector touches, and a gather takes several times as long.
struct Run {
  int64_t base;
  __m512i index;
  __mmask16 lanes;
};

template <int kRuns>
void fill_runs(const PanelFill& fill, const Run* runs, __m512i zeros, uint8_t* to, int64_t step) {
  const uint8_t* plane = fill.in;
  for (int group = 0; group < fill.groups; ++group, to += step, plane += fill.group_stride) {
    __m512i lanes = zeros;
#pragma GCC unroll 4
    for (int r = 0; r < kRuns; ++r) {
      const uint8_t* from = plane + runs[r].base * 4;
      lanes = _mm512_mask_mov_epi32(
          lanes, runs[r].lanes,
          _mm512_permutex2var_epi32(_mm512_loadu_si512(from), runs[r].index, _mm512_loadu_si512(from + 64)));
    }
    _mm512_storeu_si512(to, lanes);
  }
}

// Which input each lane of vector `v` reads under a tap, and which lanes read one at all.
struct Lanes {
  __m512i lane;
  __mmask16 inside;
};

Lanes lanes_of(const PanelFill& fill, int ky, int kx, int v) {
  const __m512i row = _mm512_add_epi32(_mm512_loadu_si512(fill.top + v * 16), _mm512_set1_epi32(ky * fill.dilation_h));
  const __m512i column = _mm512_add_epi32(_mm512_loadu_si512(fill.left + v * 16), _mm512_set1_epi32(kx * fill.dilation_w));
  const __mmask16 row_inside = _mm512_cmplt_epu32_mask(row, _mm512_set1_epi32(fill.in_height));
  const __mmask16 inside = _mm512_mask_cmplt_epu32_mask(row_inside, column, _mm512_set1_epi32(fill.in_width));
  const __m512i lane = _mm512_add_epi32(_mm512_mullo_epi32(row, _mm512_set1_epi32(fill.in_width)), column);
  return {_mm512_add_epi32(lane, _mm512_loadu_si512(fill.origin + v * 16)), inside};
}

void fill_strided(const PanelFill& fill, const Lanes& from, __m512i zeros, uint8_t* to, int64_t step) {
  alignas(64) int32_t lanes[16];
  _mm512_store_si512(lanes, from.lane);
  Run runs[4];
  int count = 0;
  for (__mmask16 left = from.inside; left != 0; ++count) {
    if (count == 4) {
      const uint8_t* plane = fill.in;
      for (int group = 0; group < fill.groups; ++group, to += step, plane += fill.group_stride)
        _mm512_storeu_si512(to, _mm512_mask_i32gather_epi32(zeros, from.inside, from.lane, plane, 4));
      return;
    }
    Run& run = runs[count];
    run.base = lanes[__builtin_ctz(left)];
    run.index = _mm512_sub_epi32(from.lane, _mm512_set1_epi32(static_cast<int32_t>(run.base)));
    run.lanes = _mm512_mask_cmplt_epu32_mask(left, run.index, _mm512_set1_epi32(32));
    left = static_cast<__mmask16>(left & ~run.lanes);
  }
  switch (count) {
    case 0: return fill_runs<0>(fill, runs, zeros, to, step);
    case 1: return fill_runs<1>(fill, runs, zeros, to, step);
    case 2: return fill_runs<2>(fill, runs, zeros, to, step);
    case 3: return fill_runs<3>(fill, runs, zeros, to, step);
    default: return fill_runs<4>(fill, runs, zeros, to, step);
  }
}

// One row of a panel for each group: contiguous loads. `from`: where lane 0 of the first group reads, inside the image or not.
void fill_shifted(const PanelFill& fill, __mmask16 inside, const uint8_t* from, __m512i zeros, uint8_t* to, int64_t step) {
  if (inside == 0xffff) {
    for (int group = 0; group < fill.groups; ++group, to += step, from += fill.group_stride)
      _mm512_storeu_si512(to, _mm512_loadu_si512(from));
  } else {
    for (int group = 0; group < fill.groups; ++group, to += step, from += fill.group_stride)
      _mm512_storeu_si512(to, _mm512_mask_loadu_epi32(zeros, inside, from));
  }
}

// Lanes whose pixel lies below `size` after `shift` is added to its coordinate: no coordinate is negative then.
__mmask16 inside_axis(const int32_t* coordinates, int32_t shift, int32_t size) {
  return _mm512_cmplt_epu32_mask(_mm512_add_epi32(_mm512_loadu_si512(coordinates), _mm512_set1_epi32(shift)),
                                 _mm512_set1_epi32(size));
}

// Which lanes of each vector lie inside the image under each tap, along one axis.
template <int kTaps, int kVectors>
struct AxisMasks {
  __mmask16 masks[kTaps][kVectors];
  AxisMasks(const PanelFill& fill, const int32_t* coordinates, int taps, int dilation, int size) {
    for (int tap = 0; tap < taps; ++tap)
      for (int v = 0; v < fill.vectors; ++v) masks[tap][v] = inside_axis(coordinates + v * 16, tap * dilation, size);
  }
};

// Kernels of up to kTaps x kTaps taps, tiles of up to kVectors vectors.
template <int kTaps, int kVectors>
void fill_all_shifted(const PanelFill& fill, __m512i zeros, int64_t step) {
  const AxisMasks<kTaps, kVectors> rows(fill, fill.top, fill.kernel_h, fill.dilation_h, fill.in_height);
  const AxisMasks<kTaps, kVectors> columns(fill, fill.left, fill.kernel_w, fill.dilation_w, fill.in_width);
  uint8_t* row = fill.panel;
  for (int ky = 0; ky < fill.kernel_h; ++ky) {
    const uint8_t* line = fill.in + (fill.first_lane + int64_t{ky} * fill.dilation_h * fill.in_width) * 4;
    for (int kx = 0; kx < fill.kernel_w; ++kx, row += fill.row_bytes, line += fill.dilation_w * 4)
      for (int v = 0; v < fill.vectors; ++v)
        fill_shifted(fill, static_cast<__mmask16>(rows.masks[ky][v] & columns.masks[kx][v]), line + v * 64, zeros, row + v * 64,
                     step);
  }
}

}  // namespace

void fill(const PanelFill& fill) {
  const __m512i zeros = _mm512_set1_epi32(static_cast<int32_t>(fill.zeros));
  const int64_t step = int64_t{fill.kernel_h} * fill.kernel_w * fill.row_bytes;
  constexpr int kTaps = 16, kVectors = 8;
  if (fill.shifted && fill.kernel_h <= kTaps && fill.kernel_w <= kTaps && fill.vectors <= kVectors)
    return fill_all_shifted<kTaps, kVectors>(fill, zeros, step);
  uint8_t* row = fill.panel;
  for (int ky = 0; ky < fill.kernel_h; ++ky)
    for (int kx = 0; kx < fill.kernel_w; ++kx, row += fill.row_bytes)
      for (int v = 0; v < fill.vectors; ++v) fill_strided(fill, lanes_of(fill, ky, kx, v), zeros, row + v * 64, step);
}

}  // namespace niwaki::conv_avx512vnni
#endif
