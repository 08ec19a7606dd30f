#if defined(__x86_64__)
#if !defined(__AVXVNNI__) || !defined(__AVX2__)
#error "compile this file with the AVX-VNNI flags of cmake/NiwakiCompile.cmake"
#endif

#include <immintrin.h>

#include "kernels/conv/kernel.h"

namespace niwaki::conv_avxvnni {
namespace {

#include "kernels/conv/x86_ymm.inc"

struct V : YmmBase {
  static constexpr int kLaneBytes = 4;
  using Activation = __m256i;
  using Weight = __m256i;
  using WideWeight = __m256i;
  using OneActivation = __m256i;

  static Activation activation(const uint8_t* p) { return load_int(p); }
  static Weight weight(const uint8_t* p) { return four_bytes(p); }
  static void mac(Int& acc, Activation a, Weight w) { __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(w)); }
  static WideWeight wide_weight(const uint8_t* p) { return load_int(p); }
  static OneActivation one_activation(const uint8_t* p) { return four_bytes(p); }
  static void mac_wide(Int& acc, OneActivation a, WideWeight w) { mac(acc, a, w); }
};

#include "kernels/conv/x86_body.inc"
#include "kernels/conv/x86_wide.inc"
#include "kernels/conv/x86_lists.inc"

constexpr int kDenseOutputs = 4, kSparsePitch = 6 * V::kLanes;

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
    default: return sparse_tile<6, kSparsePitch>(tile);
  }
}

void wide(const WideTile& tile) {
  switch (tile.pixels) {
    case 1: return wide_tile<1, 2>(tile);
    case 2: return wide_tile<2, 2>(tile);
    case 3: return wide_tile<3, 2>(tile);
    case 4: return wide_tile<4, 2>(tile);
    case 5: return wide_tile<5, 2>(tile);
    default: return wide_tile<6, 2>(tile);
  }
}

void fill(const PanelFill& fill) {
  fill_lanes<kVectorBytes>(fill, [](uint8_t* to, __m256i lanes) { V::store_int(to, lanes); });
}

}  // namespace niwaki::conv_avxvnni
#endif
