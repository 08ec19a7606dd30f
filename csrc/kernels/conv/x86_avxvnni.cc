#if defined(__x86_64__)
#if !defined(__AVXVNNI__) || !defined(__AVX2__)
#error "compile this file with the AVX-VNNI flags of cmake/NiwakiCompile.cmake"
#endif

#include "kernels/common/vector.h"
#include "kernels/conv/finish.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_avxvnni {
namespace {

#include "kernels/conv/x86_vnni.inc"

#include "kernels/conv/x86_body.inc"
#include "kernels/conv/x86_dense.inc"
#include "kernels/conv/x86_wide.inc"
#include "kernels/conv/x86_pick.inc"
#include "kernels/conv/x86_vnni_list.inc"
#include "kernels/conv/x86_lists.inc"
#include "kernels/conv/x86_ymm_fill.inc"

constexpr int kDenseOutputs = 4, kSparsePitch = 6 * kLanes;

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

void pick(const PickTile& tile) { pick_tile(tile); }

void fill(const PanelFill& fill) {
  fill_lanes(fill, [](uint8_t* to, Ints lanes) { store(to, lanes); });
}

}  // namespace niwaki::conv_avxvnni
#endif
