#if defined(__aarch64__)
#if !defined(__ARM_FEATURE_DOTPROD) || !defined(__ARM_FEATURE_MATMUL_INT8)
#error "compile this file with the flags of cmake/NiwakiCompile.cmake"
#endif

#include "kernels/common/vector.h"
#include "kernels/conv/finish.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_i8mm {
namespace {

constexpr int kDenseVectors = 3, kDenseOutputs = 8, kSparseVectors = 16, kWidePixels = 6, kWideOutputs = 16;

#include "kernels/conv/arm_rows.inc"

// USDOT and SUDOT multiply unsigned by signed bytes: activations stay as they are.
// In assembly, because GCC puts loads right before what waits for them: see dense_row.
struct V {
  using Activations = uint8x16_t;
  using Weights = int8x16_t;
  using TwoWeights = int8x8_t;
  static NIWAKI_MEMBER Activations activations(const uint8_t* p) { return vreinterpretq_u8_s8(load_in_order(p)); }
  static NIWAKI_MEMBER Activations as_activations(int8x16_t a) { return vreinterpretq_u8_s8(a); }
  static NIWAKI_MEMBER Activations wide(Activations a) { return a; }
  static NIWAKI_MEMBER Weights weights(const uint8_t* p) { return load_in_order(p); }
  static NIWAKI_MEMBER TwoWeights two_weights(const uint8_t* p) { return vreinterpret_s8_u8(vld1_u8(p)); }
  template <int kLane>
  static NIWAKI_MEMBER int32x4_t dot_of_two(int32x4_t acc, Activations a, TwoWeights w) {
    __asm__ volatile("usdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(acc) : "w"(a), "w"(w), "i"(kLane));
    return acc;
  }
  template <int kLane>
  static NIWAKI_MEMBER int32x4_t dot(int32x4_t acc, Activations a, Weights w) {
    __asm__ volatile("usdot %0.4s, %1.16b, %2.4b[%3]" : "+w"(acc) : "w"(a), "w"(w), "i"(kLane));
    return acc;
  }
  template <int kLane>
  static NIWAKI_MEMBER int32x4_t dot_wide(int32x4_t acc, Weights w, Activations a) {
    __asm__ volatile("sudot %0.4s, %1.16b, %2.4b[%3]" : "+w"(acc) : "w"(w), "w"(a), "i"(kLane));
    return acc;
  }
  static NIWAKI_MEMBER int32x4_t dot_picked(int32x4_t acc, uint8x16_t bytes, Weights w) { return vusdotq_s32(acc, bytes, w); }
};

#include "kernels/conv/arm_dot.inc"

// USMMLA multiplies two pixels of eight channels by two outputs of eight channels: twice the products of USDOT. Two rows beside each
// other are those eight channels, for pixels and for weights. Sums are then of pixels 0 and 1 or 2 and 3 of a vector, each two outputs.
struct Squares {
  int32x4_t of[2][kDenseOutputs / 2];
};

struct Zipped {
  uint8x16_t low, high;
};

NIWAKI_INLINE Zipped zip_rows(uint8x16_t row, uint8x16_t next) {
  const uint32x4_t a = vreinterpretq_u32_u8(row), b = vreinterpretq_u32_u8(next);
  return {vreinterpretq_u8_u32(vzip1q_u32(a, b)), vreinterpretq_u8_u32(vzip2q_u32(a, b))};
}

// Two rows; or the last one and zeros.
template <bool kTwo, int kVectors>
NIWAKI_INLINE void multiply_squares(Squares (&squares)[kVectors], const uint8_t* panel, int64_t row_bytes,
                                    const uint8_t* weights) {
  const uint8x16_t nothing = vdupq_n_u8(0);
  Zipped w[kDenseOutputs / 4];
#pragma GCC unroll 4
  for (int o = 0; o < kDenseOutputs / 4; ++o)
    w[o] = zip_rows(vld1q_u8(weights + o * 16), kTwo ? vld1q_u8(weights + (kDenseOutputs + o * 4) * 4) : nothing);
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const Zipped a = zip_rows(vld1q_u8(panel + v * 16), kTwo ? vld1q_u8(panel + row_bytes + v * 16) : nothing);
    const uint8x16_t halves[2] = {a.low, a.high};
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 4
      for (int o = 0; o < kDenseOutputs / 4; ++o) {
        int32x4_t* acc = squares[v].of[half] + o * 2;
        acc[0] = vusmmlaq_s32(acc[0], halves[half], vreinterpretq_s8_u8(w[o].low));
        acc[1] = vusmmlaq_s32(acc[1], halves[half], vreinterpretq_s8_u8(w[o].high));
      }
    }
  }
}

template <int kVectors>
NIWAKI_INLINE void dense_sums(const DenseTile& tile, const uint8_t* panel, int32x4_t (&acc)[kVectors][kDenseOutputs]) {
  Squares squares[kVectors];
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
    for (int i = 0; i < kDenseOutputs; ++i) squares[v].of[i % 2][i / 2] = vdupq_n_s32(0);
  }
  const uint8_t* weights = tile.weights;
  const int64_t row_bytes = tile.row_bytes;
  for (int64_t row = tile.rows / 2; row > 0; --row) {
    multiply_squares<true>(squares, panel, row_bytes, weights);
    panel += 2 * row_bytes;
    weights += 2 * kDenseOutputs * 4;
  }
  if (tile.rows % 2 == 1) multiply_squares<false>(squares, panel, row_bytes, weights);
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
    for (int o = 0; o < kDenseOutputs; o += 2) {
      const int32x4_t low = squares[v].of[0][o / 2], high = squares[v].of[1][o / 2];
      acc[v][o] = vaddq_s32(acc[v][o], vuzp1q_s32(low, high));
      acc[v][o + 1] = vaddq_s32(acc[v][o + 1], vuzp2q_s32(low, high));
    }
  }
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

}  // namespace niwaki::conv_i8mm
#endif
