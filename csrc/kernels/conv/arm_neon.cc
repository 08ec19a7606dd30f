#if defined(__aarch64__)

#include "kernels/common/vector.h"
#include "kernels/conv/finish.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_neon {
namespace {

// Sums of pairs take two registers for each vector: 16 of the 32 registers hold sums.
constexpr int kDenseVectors = 2, kDenseOutputs = 4, kSparseVectors = 8, kWidePixels = 2, kWideOutputs = 16;

#include "kernels/conv/arm_rows.inc"

// Without a dot product: SMULL multiplies signed bytes (activations are q - 128, see ConvKernels::flip) to 16 bits, where a second
// product fits on top, because weights are at least -127: 2 * 128 * 127 < 2^15. SADALP adds neighbours to 32 bits. So sums are of
// channels (0, 1) and (2, 3) of each pixel, and two rows are worked on at a time.
struct Pairs {
  int32x4_t low, high;  // of pixels 0 and 1, and of 2 and 3
};

NIWAKI_INLINE Pairs no_pairs() { return {vdupq_n_s32(0), vdupq_n_s32(0)}; }

NIWAKI_INLINE int32x4_t sums_of(const Pairs& pairs) { return vpaddq_s32(pairs.low, pairs.high); }

NIWAKI_INLINE int8x16_t load_signed(const uint8_t* p) { return vreinterpretq_s8_u8(vld1q_u8(p)); }

NIWAKI_INLINE int8x16_t four(const uint8_t* p) {
  int32_t bytes;
  __builtin_memcpy(&bytes, p, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(bytes));
}

// Without this the compiler makes a load and a move of each lane of a register of weights.
NIWAKI_INLINE int8x16_t opaque(int8x16_t v) {
  __asm__("" : "+w"(v));
  return v;
}

// One of four lanes in all of them.
template <int kLane>
NIWAKI_INLINE int8x16_t spread(int8x16_t lanes) {
  return vreinterpretq_s8_s32(vdupq_laneq_s32(vreinterpretq_s32_s8(lanes), kLane));
}

NIWAKI_INLINE int8x16_t flipped(int8x16_t bytes) { return veorq_s8(bytes, vdupq_n_s8(-128)); }

NIWAKI_INLINE void multiply(Pairs& pairs, int8x16_t a, int8x16_t b) {
  pairs.low = vpadalq_s16(pairs.low, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
  pairs.high = vpadalq_s16(pairs.high, vmull_high_s8(a, b));
}

NIWAKI_INLINE void multiply_two(Pairs& pairs, int8x16_t a, int8x16_t b, int8x16_t next_a, int8x16_t next_b) {
  pairs.low =
      vpadalq_s16(pairs.low, vmlal_s8(vmull_s8(vget_low_s8(a), vget_low_s8(b)), vget_low_s8(next_a), vget_low_s8(next_b)));
  pairs.high = vpadalq_s16(pairs.high, vmlal_high_s8(vmull_high_s8(a, b), next_a, next_b));
}

// The same for two vectors of sums, side by side: a core that works in order would stand still three times in each of the four chains.
NIWAKI_INLINE void multiply_two(Pairs& pairs, int8x16_t a, int8x16_t b, int8x16_t next_a, int8x16_t next_b, Pairs& other,
                                int8x16_t other_a, int8x16_t other_b, int8x16_t other_next_a, int8x16_t other_next_b) {
  int16x8_t low, high, other_low, other_high;
  int32x4_t sums_low = pairs.low, sums_high = pairs.high, other_sums_low = other.low, other_sums_high = other.high;
  __asm__ volatile(
      "smull %0.8h, %8.8b, %9.8b\n\t"
      "smull2 %1.8h, %8.16b, %9.16b\n\t"
      "smull %2.8h, %12.8b, %13.8b\n\t"
      "smull2 %3.8h, %12.16b, %13.16b\n\t"
      "smlal %0.8h, %10.8b, %11.8b\n\t"
      "smlal2 %1.8h, %10.16b, %11.16b\n\t"
      "smlal %2.8h, %14.8b, %15.8b\n\t"
      "smlal2 %3.8h, %14.16b, %15.16b\n\t"
      "sadalp %4.4s, %0.8h\n\t"
      "sadalp %5.4s, %1.8h\n\t"
      "sadalp %6.4s, %2.8h\n\t"
      "sadalp %7.4s, %3.8h"
      : "=&w"(low), "=&w"(high), "=&w"(other_low), "=&w"(other_high), "+w"(sums_low), "+w"(sums_high), "+w"(other_sums_low),
        "+w"(other_sums_high)
      : "w"(a), "w"(b), "w"(next_a), "w"(next_b), "w"(other_a), "w"(other_b), "w"(other_next_a), "w"(other_next_b));
  pairs = {sums_low, sums_high};
  other = {other_sums_low, other_sums_high};
}

// Two rows of pixels by two registers of weights of four outputs, for output `kOutput` and those behind it.
template <int kVectors, int kOutput>
NIWAKI_INLINE void multiply_rows(Pairs (&pairs)[kVectors][kDenseOutputs], const int8x16_t (&a)[kVectors], int8x16_t w,
                                 const int8x16_t (&next)[kVectors], int8x16_t next_w) {
  if constexpr (kOutput < 4) {
    const int8x16_t of_output = spread<kOutput>(w), next_of_output = spread<kOutput>(next_w);
    static_assert(kVectors <= 2);
    if constexpr (kVectors == 1) multiply_two(pairs[0][kOutput], a[0], of_output, next[0], next_of_output);
    else
      multiply_two(pairs[0][kOutput], a[0], of_output, next[0], next_of_output, pairs[1][kOutput], a[1], of_output, next[1],
                   next_of_output);
    multiply_rows<kVectors, kOutput + 1>(pairs, a, w, next, next_w);
  }
}

template <int kVectors>
NIWAKI_INLINE void dense_sums(const DenseTile& tile, const uint8_t* panel, int32x4_t (&acc)[kVectors][kDenseOutputs]) {
  static_assert(kDenseOutputs == 4);
  Pairs pairs[kVectors][kDenseOutputs];
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
#pragma GCC unroll 16
    for (int o = 0; o < kDenseOutputs; ++o) pairs[v][o] = no_pairs();
  }
  const uint8_t* weights = tile.weights;
  const int64_t row_bytes = tile.row_bytes;
  for (int64_t row = tile.rows / 2; row > 0; --row) {
    int8x16_t a[kVectors], next[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      a[v] = load_signed(panel + v * 16);
      next[v] = load_signed(panel + row_bytes + v * 16);
    }
    multiply_rows<kVectors, 0>(pairs, a, opaque(load_signed(weights)), next, opaque(load_signed(weights + 16)));
    panel += 2 * row_bytes;
    weights += 32;
  }
#pragma GCC unroll 16
  for (int o = 0; o < kDenseOutputs; ++o) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      if (tile.rows % 2 == 1) multiply(pairs[v][o], load_signed(panel + v * 16), four(weights + o * 4));
      acc[v][o] = vaddq_s32(acc[v][o], sums_of(pairs[v][o]));
    }
  }
}

// Two vectors of pixels of two rows, or one.
template <int kVectors, int kFirst>
struct Square {
  static constexpr bool kBoth = kFirst + 1 < kVectors;
  TwoVectors a, next_a;
  static NIWAKI_MEMBER Square loaded(const TwoRows& rows) {
    return {load_two<kFirst, kBoth>(rows.first), load_two<kFirst, kBoth>(rows.second)};
  }
  NIWAKI_MEMBER void multiply(Pairs (&pairs)[kVectors], int8x16_t w, int8x16_t next_w) const {
    if constexpr (kBoth)
      multiply_two(pairs[kFirst], a.first, w, next_a.first, next_w, pairs[kFirst + 1], a.second, w, next_a.second, next_w);
    else multiply_two(pairs[kFirst], a.first, w, next_a.first, next_w);
  }
};

// Two rows of pixels by two blocks: vectors kFirst, which were loaded before, and those behind it. On the way, the rows of the next two blocks.
template <int kVectors, int kFirst>
NIWAKI_INLINE void multiply_blocks(Pairs (&pairs)[kVectors], TwoRows& rows, const uint8_t* panel, const uint16_t* next_offsets,
                                   int8x16_t w, int8x16_t next_w, const Square<kVectors, kFirst>& now) {
  if constexpr (kFirst + 2 < kVectors) {
    const auto after = Square<kVectors, kFirst + 2>::loaded(rows);
    now.multiply(pairs, w, next_w);
    multiply_blocks(pairs, rows, panel, next_offsets, w, next_w, after);
  } else {
    rows.load(next_offsets);
    now.multiply(pairs, w, next_w);
    rows.add_to(panel);
  }
}

// One output over one chunk; returns past its blocks, whose number is even.
template <int kVectors>
NIWAKI_INLINE void sparse_sums(int32x4_t (&acc)[kVectors], const uint8_t* panel, int count, const uint16_t*& offsets,
                               const uint8_t*& values) {
  Pairs pairs[kVectors];
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) pairs[v] = no_pairs();
  TwoRows rows;
  rows.load(offsets);
  rows.add_to(panel);
  for (const uint16_t* end = offsets + count; offsets != end;) {
    const int8x16_t two = opaque(vreinterpretq_s8_u8(vcombine_u8(vld1_u8(values), vdup_n_u8(0))));
    const auto first = Square<kVectors, 0>::loaded(rows);
    const int8x16_t w = spread<0>(two), next_w = spread<1>(two);
    values += 8;
    offsets += 2;
    multiply_blocks(pairs, rows, panel, offsets, w, next_w, first);
  }
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) acc[v] = vaddq_s32(acc[v], sums_of(pairs[v]));
}

template <int kPixels, int kVectors>
NIWAKI_INLINE void clear(Pairs (&pairs)[kPixels][kVectors]) {
#pragma GCC unroll 16
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) pairs[p][v] = no_pairs();
  }
}

template <int kPixels>
NIWAKI_INLINE void wide_sums(const WideTile& tile, int32x4_t (&acc)[kPixels][kWideOutputs / 4]) {
  constexpr int kVectors = kWideOutputs / 4;
  Pairs pairs[kPixels][kVectors];
  clear(pairs);
  const uint8_t* in = tile.in;
  const uint8_t* weights = tile.weights;
  const int64_t row_bytes = tile.row_bytes;
  for (int64_t row = tile.rows / 2; row > 0; --row) {
    int8x16_t a[kPixels], next[kPixels];
#pragma GCC unroll 16
    for (int p = 0; p < kPixels; ++p) {
      a[p] = flipped(four(in + p * 4));
      next[p] = flipped(four(in + row_bytes + p * 4));
    }
    static_assert(kPixels <= 2 && kVectors % 2 == 0);
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; v += 3 - kPixels) {
      const int8x16_t w = load_signed(weights + v * 16), next_w = load_signed(weights + (kVectors + v) * 16);
      if constexpr (kPixels == 2) {
        multiply_two(pairs[0][v], w, a[0], next_w, next[0], pairs[1][v], w, a[1], next_w, next[1]);
      } else {
        const int8x16_t other_w = load_signed(weights + (v + 1) * 16),
                        other_next_w = load_signed(weights + (kVectors + v + 1) * 16);
        multiply_two(pairs[0][v], w, a[0], next_w, next[0], pairs[0][v + 1], other_w, a[0], other_next_w, next[0]);
      }
    }
    in += 2 * row_bytes;
    weights += 2 * kWideOutputs * 4;
  }
#pragma GCC unroll 16
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      if (tile.rows % 2 == 1) multiply(pairs[p][v], load_signed(weights + v * 16), flipped(four(in + p * 4)));
      acc[p][v] = vaddq_s32(acc[p][v], sums_of(pairs[p][v]));
    }
  }
}

template <int kPixels>
NIWAKI_INLINE void nibble_sums(const WideTile& tile, int32x4_t (&acc)[kPixels][kWideOutputs / 4]) {
  constexpr int kVectors = kWideOutputs / 4;
  Pairs pairs[kPixels][kVectors];
  clear(pairs);
  NibbleRow<kVectors> weights(tile);
  const uint8_t* in = tile.in;
  int8x16_t w[kVectors], next_w[kVectors];
  for (int64_t row = tile.rows / 2; row > 0; --row) {
    weights.next(w);
    weights.next(next_w);
#pragma GCC unroll 16
    for (int p = 0; p < kPixels; ++p) {
      const int8x16_t a = flipped(four(in + p * 4)), next = flipped(four(in + tile.row_bytes + p * 4));
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; v += 2)
        multiply_two(pairs[p][v], w[v], a, next_w[v], next, pairs[p][v + 1], w[v + 1], a, next_w[v + 1], next);
    }
    in += 2 * tile.row_bytes;
  }
  if (tile.rows % 2 == 1) weights.next(w);
#pragma GCC unroll 16
  for (int p = 0; p < kPixels; ++p) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      if (tile.rows % 2 == 1) multiply(pairs[p][v], w[v], flipped(four(in + p * 4)));
      acc[p][v] = vaddq_s32(acc[p][v], sums_of(pairs[p][v]));
    }
  }
}

using Picked = Pairs;
NIWAKI_INLINE Picked no_picks() { return no_pairs(); }
NIWAKI_INLINE int32x4_t sums_of_picks(const Picked& picked) { return sums_of(picked); }
NIWAKI_INLINE void pick_two(Picked& picked, uint8x16_t bytes, const uint8_t* weights, uint8x16_t next_bytes,
                            const uint8_t* next_weights) {
  multiply_two(picked, load_signed(weights), vreinterpretq_s8_u8(bytes), load_signed(next_weights),
               vreinterpretq_s8_u8(next_bytes));
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

}  // namespace niwaki::conv_neon
#endif
