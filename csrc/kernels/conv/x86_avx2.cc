#if defined(__x86_64__)
#if !defined(__AVX2__)
#error "compile this file with the AVX2 flags of cmake/NiwakiCompile.cmake"
#endif

#include <immintrin.h>

#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx2 {
namespace {

#include "kernels/conv/x86_ymm.inc"

// AVX2 multiplies bytes only with saturation (255 * 127 * 2 > 32767). So panels and weights hold 16-bit values, which vpmaddwd
// multiplies and sums exactly: for each lane the pair of channels 0 and 2, then the pair 1 and 3.
struct V : YmmBase {
  static constexpr int kLaneBytes = 8;
  struct Pairs {
    __m256i even, odd;
  };
  using Activation = Pairs;
  using Weight = Pairs;
  using WideWeight = Pairs;
  using OneActivation = Pairs;

  static Activation activation(const uint8_t* p) { return {load_int(p), load_int(p + 32)}; }
  static Weight weight(const uint8_t* p) { return {four_bytes(p), four_bytes(p + 4)}; }
  static void mac(Int& acc, const Pairs& a, const Pairs& w) {
    acc = add(acc, add(_mm256_madd_epi16(a.even, w.even), _mm256_madd_epi16(a.odd, w.odd)));
  }
  static Pairs widen_unsigned(Int bytes) {
    return {_mm256_and_si256(bytes, _mm256_set1_epi16(255)), _mm256_srli_epi16(bytes, 8)};
  }
  static WideWeight wide_weight(const uint8_t* p) {
    const Int bytes = load_int(p);
    return {_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), _mm256_srai_epi16(bytes, 8)};
  }
  static OneActivation one_activation(const uint8_t* p) { return widen_unsigned(four_bytes(p)); }
  static void mac_wide(Int& acc, const Pairs& a, const Pairs& w) { mac(acc, a, w); }
};

#include "kernels/conv/x86_body.inc"
#include "kernels/conv/x86_wide.inc"
#include "kernels/conv/x86_lists.inc"

constexpr int kDenseOutputs = 4, kSparsePitch = 4 * V::kLanes;

// A single pixel after the vectors: four outputs times two pairs of channels are one vector of weights.
class OnePixel {
 public:
  explicit OnePixel(const DenseTile& tile) : bias_(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tile.bias))) {}

  NIWAKI_INLINE void mac(const uint8_t* pixel, const uint8_t* weights) {
    const __m256i pairs = _mm256_blend_epi32(V::four_bytes(pixel), V::four_bytes(pixel + 32), 0xaa);
    sums_ = _mm256_add_epi32(sums_, _mm256_madd_epi16(pairs, V::load_int(weights)));
  }

  void store(const DenseTile& tile) const {
    const ConvOutput& output = tile.output;
    const int64_t pixel = int64_t{tile.vectors} * V::kLanes;
    const __m256i both = _mm256_add_epi32(sums_, _mm256_srli_epi64(sums_, 32));  // even lanes: of both pairs
    const __m256i even = _mm256_permutevar8x32_epi32(both, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    __m128 t = _mm_mul_ps(_mm_cvtepi32_ps(_mm_add_epi32(_mm256_castsi256_si128(even), bias_)), _mm_loadu_ps(tile.multiplier));
    if (output.out_float) {
      float floats[4];
      _mm_storeu_ps(floats, t);
      for (int o = 0; o < 4; ++o) output.out_float[o * output.float_stride + pixel] = floats[o];
      return;
    }
    if (output.residual) {
      int32_t four;
      __builtin_memcpy(&four, output.residual + pixel * 4, 4);
      const __m128i q = _mm_sub_epi32(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)), _mm_set1_epi32(output.residual_zero));
      t = _mm_add_ps(t, _mm_mul_ps(_mm_cvtepi32_ps(q), _mm_set1_ps(output.residual_scale)));
    }
    t = _mm_min_ps(_mm_max_ps(t, _mm_set1_ps(output.low)), _mm_set1_ps(output.high));
    const __m128i q = _mm_add_epi32(_mm_cvtps_epi32(t), _mm_set1_epi32(output.out_zero));
    const __m128i words = _mm_packs_epi32(q, q);
    const int32_t four = _mm_cvtsi128_si32(_mm_packus_epi16(words, words));
    __builtin_memcpy(output.out + pixel * 4, &four, 4);
  }

 private:
  __m256i sums_ = _mm256_setzero_si256();  // for each output: of channels 0 and 2, of channels 1 and 3
  __m128i bias_;
};

}  // namespace

void dense(const DenseTile& tile) {
  if (tile.tail) {
    switch (tile.vectors) {
      case 1: return dense_tile<1, kDenseOutputs, OnePixel>(tile);
      default: return dense_tile<2, kDenseOutputs, OnePixel>(tile);
    }
  }
  switch (tile.vectors) {
    case 1: return dense_tile<1, kDenseOutputs>(tile);
    default: return dense_tile<2, kDenseOutputs>(tile);
  }
}

void sparse(const SparseTile& tile) {
  switch (tile.vectors) {
    case 1: return sparse_tile<1, kSparsePitch>(tile);
    case 2: return sparse_tile<2, kSparsePitch>(tile);
    case 3: return sparse_tile<3, kSparsePitch>(tile);
    default: return sparse_tile<4, kSparsePitch>(tile);
  }
}

void wide(const WideTile& tile) {
  switch (tile.pixels) {
    case 1: return wide_tile<1, 2>(tile);
    default: return wide_tile<2, 2>(tile);
  }
}

void fill(const PanelFill& fill) {
  fill_lanes<kVectorBytes>(fill, [](uint8_t* to, __m256i lanes) {
    const V::Pairs pairs = V::widen_unsigned(lanes);
    V::store_int(to, pairs.even);
    V::store_int(to + 32, pairs.odd);
  });
}

}  // namespace niwaki::conv_avx2
#endif
