#if defined(__x86_64__)
#if !defined(__AVX2__)
#error "compile this file with the AVX2 flags of cmake/NiwakiCompile.cmake"
#endif

#include "kernels/common/vector.h"
#include "kernels/conv/finish.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx2 {
namespace {

// For wide and pick kernels, whose weights are not paired as row_pairs.h does it: vpmaddubsw would saturate, so they widen bytes to words as they
// go. For each lane the pair of channels 0 and 2, then the pair 1 and 3.
struct V {
  struct Pairs {
    __m256i even, odd;
  };
  using WideWeight = Pairs;
  using OneActivation = Pairs;

  static NIWAKI_MEMBER void mac_wide(Ints& acc, const Pairs& a, const Pairs& w) {
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
  // Weights of -64 to 64: two products fit 16 bits.
  static NIWAKI_MEMBER void mac_small(Ints& acc, Ints a, Ints w) {
    acc = add_ints(acc, _mm256_madd_epi16(_mm256_maddubs_epi16(a, w), set_words(1)));
  }
  static NIWAKI_MEMBER void mac_picked(Ints& acc, Ints bytes, const uint8_t* weights) {
    mac_wide(acc, widen_unsigned(bytes), wide_weight(weights));
  }
};

#include "kernels/conv/x86_body.inc"
#include "kernels/conv/x86_wide.inc"
#include "kernels/conv/x86_pick.inc"
#include "kernels/conv/x86_pairs.inc"
#include "kernels/conv/x86_lists.inc"
#include "kernels/conv/x86_ymm_fill.inc"

constexpr int kDenseOutputs = 4, kSparsePitch = 7 * kLanes;

template <bool kTail>
void dense_tiles(const DenseTile& tile) {
  if (tile.vectors == 1) dense_tile<1, kDenseOutputs, kTail>(tile);
  else dense_tile<2, kDenseOutputs, kTail>(tile);
}

}  // namespace

void dense(const DenseTile& tile) { tile.tail ? dense_tiles<true>(tile) : dense_tiles<false>(tile); }

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
    case 1: return wide_tile<1, 2>(tile);
    default: return wide_tile<2, 2>(tile);
  }
}

void pick(const PickTile& tile) { pick_tile(tile); }

void fill(const PanelFill& fill) {
  fill_lanes(fill, [](uint8_t* to, Ints lanes) { store(to, lanes); });
}

}  // namespace niwaki::conv_avx2
#endif
