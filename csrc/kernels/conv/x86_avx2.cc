#if defined(__x86_64__)
#if !defined(__AVX2__)
#error "compile this file with the AVX2 flags of cmake/NiwakiCompile.cmake"
#endif

#include "kernels/common/vector.h"
#include "kernels/conv/finish.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx2 {
namespace {

// AVX2 multiplies bytes only with saturation (255 * 127 * 2 > 32767). So panels and weights hold 16-bit values, which vpmaddwd
// multiplies and sums exactly: for each lane the pair of channels 0 and 2, then the pair 1 and 3.
struct V {
  static constexpr int kLaneBytes = 8;
  struct Pairs {
    __m256i even, odd;
  };
  using Activation = Pairs;
  using Weight = Pairs;
  using WideWeight = Pairs;
  using OneActivation = Pairs;

  static NIWAKI_MEMBER Activation activation(const uint8_t* p) { return {load(p), load(p + 32)}; }
  static NIWAKI_MEMBER Weight weight(const uint8_t* p) { return {set_lanes(p), set_lanes(p + 4)}; }
  static NIWAKI_MEMBER void mac(Ints& acc, const Pairs& a, const Pairs& w) {
    acc = add_ints(acc, add_ints(_mm256_madd_epi16(a.even, w.even), _mm256_madd_epi16(a.odd, w.odd)));
  }
  static NIWAKI_MEMBER Pairs widen_unsigned(Ints bytes) {
    return {_mm256_and_si256(bytes, _mm256_set1_epi16(255)), _mm256_srli_epi16(bytes, 8)};
  }
  static NIWAKI_MEMBER WideWeight wide_weight(const uint8_t* p) {
    const Ints bytes = load(p);
    return {_mm256_srai_epi16(_mm256_slli_epi16(bytes, 8), 8), _mm256_srai_epi16(bytes, 8)};
  }
  static NIWAKI_MEMBER OneActivation one_activation(const uint8_t* p) { return widen_unsigned(set_lanes(p)); }
  static NIWAKI_MEMBER void mac_wide(Ints& acc, const Pairs& a, const Pairs& w) { mac(acc, a, w); }
  static NIWAKI_MEMBER void mac_picked(Ints& acc, Ints bytes, const uint8_t* weights) {
    mac(acc, widen_unsigned(bytes), wide_weight(weights));
  }
};

#include "kernels/conv/x86_body.inc"
#include "kernels/conv/x86_wide.inc"
#include "kernels/conv/x86_pick.inc"
#include "kernels/conv/x86_lists.inc"
#include "kernels/conv/x86_ymm_fill.inc"

constexpr int kDenseOutputs = 4, kSparsePitch = 4 * kLanes;

// A single pixel after the vectors: four outputs times two pairs of channels are one vector of weights.
class OnePixel {
 public:
  explicit OnePixel(const DenseTile& tile) : bias_(_mm_loadu_si128(reinterpret_cast<const __m128i*>(tile.bias))) {}

  NIWAKI_MEMBER void mac(const uint8_t* pixel, const uint8_t* weights) {
    const __m256i pairs = _mm256_blend_epi32(set_lanes(pixel), set_lanes(pixel + 32), 0xaa);
    sums_ = _mm256_add_epi32(sums_, _mm256_madd_epi16(pairs, load(weights)));
  }

  void store(const DenseTile& tile) const {
    const __m256i both = _mm256_add_epi32(sums_, _mm256_srli_epi64(sums_, 32));  // even lanes: of both pairs
    const __m256i even = _mm256_permutevar8x32_epi32(both, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
    store_last_pixel(tile, _mm256_zextsi128_si256(_mm_add_epi32(_mm256_castsi256_si128(even), bias_)));
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

void pick(const PickTile& tile) { pick_tile(tile); }

void fill(const PanelFill& fill) {
  fill_lanes<kPanelBytes>(fill, [](uint8_t* to, __m256i lanes) {
    const V::Pairs pairs = V::widen_unsigned(lanes);
    store(to, pairs.even);
    store(to + 32, pairs.odd);
  });
}

}  // namespace niwaki::conv_avx2
#endif
