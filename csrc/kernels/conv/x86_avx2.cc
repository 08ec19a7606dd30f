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
#include "kernels/conv/x86_lists.inc"

constexpr int kDenseOutputs = 4, kSparsePitch = 4 * V::kLanes;

}  // namespace

void dense(const DenseTile& tile) {
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
