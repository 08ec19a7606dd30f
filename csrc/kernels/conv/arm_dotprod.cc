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

#include "kernels/conv/arm_rows.inc"

// SDOT multiplies signed bytes. Activations are q - 128, which as bytes is q ^ 128: panels hold that already (ConvKernels::flip), and the
// bias has 128 times the sum of the weights in it.
// In assembly, because GCC puts loads right before what waits for them: see dense_row.
struct V {
  using Activations = int8x16_t;
  using Weights = int8x16_t;
  using TwoWeights = int8x8_t;
  static NIWAKI_MEMBER Activations activations(const uint8_t* p) { return load_in_order(p); }
  static NIWAKI_MEMBER Activations as_activations(int8x16_t a) { return a; }
  static NIWAKI_MEMBER Activations wide(Activations a) { return veorq_s8(a, vdupq_n_s8(-128)); }
  static NIWAKI_MEMBER Weights weights(const uint8_t* p) { return load_in_order(p); }
  static NIWAKI_MEMBER TwoWeights two_weights(const uint8_t* p) { return vreinterpret_s8_u8(vld1_u8(p)); }
  template <int kLane>
  static NIWAKI_MEMBER int32x4_t dot(int32x4_t acc, Activations a, Weights w) {
    __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(acc) : "w"(a), "w"(w), "i"(kLane));
    return acc;
  }
  template <int kLane>
  static NIWAKI_MEMBER int32x4_t dot_of_two(int32x4_t acc, Activations a, TwoWeights w) {
    __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(acc) : "w"(a), "w"(w), "i"(kLane));
    return acc;
  }
  template <int kLane>
  static NIWAKI_MEMBER int32x4_t dot_wide(int32x4_t acc, Weights w, Activations a) {
    __asm__ volatile("sdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(acc) : "w"(w), "w"(a), "i"(kLane));
    return acc;
  }
  static NIWAKI_MEMBER int32x4_t dot_picked(int32x4_t acc, uint8x16_t bytes, Weights w) {
    return vdotq_s32(acc, vreinterpretq_s8_u8(bytes), w);
  }
};

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
