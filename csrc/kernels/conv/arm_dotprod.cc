#if defined(__aarch64__)
#if !defined(__ARM_FEATURE_DOTPROD)
#error "compile this file with the flags of cmake/NiwakiCompile.cmake"
#endif

#include "kernels/common/vector.h"
#include "kernels/conv/finish.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_dotprod {
namespace {

// 24 of the 32 registers hold sums in the dense and wide kernels, up to 16 in the sparse one.
constexpr int kDenseVectors = 3, kDenseOutputs = 8, kSparseVectors = 16, kWidePixels = 6, kWideOutputs = 16;

// SDOT multiplies signed bytes. Activations are q - 128, which as bytes is q ^ 128: panels hold that already (ConvKernels::flip), and the
// bias has 128 times the sum of the weights in it.
struct V {
  using Activations = int8x16_t;
  using Weights = int8x16_t;
  using TwoWeights = int8x8_t;
  static NIWAKI_MEMBER Activations activations(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
  static NIWAKI_MEMBER Activations as_activations(int8x16_t a) { return a; }
  static NIWAKI_MEMBER Activations wide_activations(const uint8_t* p) {
    return vreinterpretq_s8_u8(veorq_u8(vld1q_u8(p), vdupq_n_u8(128)));
  }
  static NIWAKI_MEMBER Weights weights(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }
  static NIWAKI_MEMBER TwoWeights two_weights(const uint8_t* p) { return vreinterpret_s8_u8(vld1_u8(p)); }
  template <int kLane>
  static NIWAKI_MEMBER int32x4_t dot(int32x4_t acc, Activations a, Weights w) {
    return vdotq_laneq_s32(acc, a, w, kLane);
  }
  template <int kLane>
  static NIWAKI_MEMBER int32x4_t dot_of_two(int32x4_t acc, Activations a, TwoWeights w) {
    return vdotq_lane_s32(acc, a, w, kLane);
  }
  template <int kLane>
  static NIWAKI_MEMBER int32x4_t dot_wide(int32x4_t acc, Weights w, Activations a) {
    return vdotq_laneq_s32(acc, w, a, kLane);
  }
  static NIWAKI_MEMBER int32x4_t dot_picked(int32x4_t acc, uint8x16_t bytes, Weights w) {
    return vdotq_s32(acc, vreinterpretq_s8_u8(bytes), w);
  }
};

#include "kernels/conv/arm_rows.inc"
#include "kernels/conv/arm_dot.inc"

template <int kVectors>
NIWAKI_INLINE void dense_sums(const DenseTile& tile, const uint8_t* panel, int32x4_t (&acc)[kVectors][kDenseOutputs]) {
  dense_rows<kVectors>(tile, panel, acc);
}

#include "kernels/conv/arm_body.inc"
#include "kernels/conv/arm_pick.inc"
#include "kernels/conv/arm_fill.inc"

}  // namespace

void dense(const DenseTile& tile) { dense_parts<kDenseVectors>(tile); }
void sparse(const SparseTile& tile) { sparse_tiles<kSparseVectors>(tile); }
void wide(const WideTile& tile) { wide_tiles<kWidePixels>(tile); }
void pick(const PickTile& tile) { pick_tile(tile); }
void fill(const PanelFill& fill) { fill_panel(fill); }

}  // namespace niwaki::conv_dotprod
#endif
