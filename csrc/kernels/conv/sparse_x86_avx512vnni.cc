// Sparse kernels that work on the lists of a group of four outputs side by side: four outputs x up to seven vectors of pixels are 28 sums in
// registers. The end of a loop, which is mispredicted, comes once for four lists, and a group's sums become bytes without a detour.
#if defined(__x86_64__)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512DQ__)
#error "compile this file with the AVX-512 and VNNI flags of cmake/NiwakiCompile.cmake"
#endif

#include <immintrin.h>

#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx512vnni {
namespace {

#include "kernels/conv/x86_zmm.inc"

#include "kernels/conv/x86_body.inc"

constexpr int kLists = 4, kPitch = 7 * V::kLanes;

// What the loop reads.
struct Lists {
  const uint8_t* panel;
  const uint8_t* blocks;  // of the set, up to `end`: records as SparseTile has them
  const uint8_t* end;
  const int32_t* start;  // [kLists]: what each output's sums begin with
};

constexpr int64_t kRecordBytes = 24;  // four offsets, four times four weights

// The sums of a set of lists: acc[j][v] = start[j] + the blocks of list j times vector v. In assembly as a whole, because 28 sums, the
// pixels and the weights leave one register free, and GCC copies sums around single instructions.
template <int kVectors>
struct Sums;

#define NIWAKI_ROW_0 "%%r8"
#define NIWAKI_ROW_1 "%%r9"
#define NIWAKI_ROW_2 "%%r10"
#define NIWAKI_ROW_3 "%%rax"
#define NIWAKI_LANES_0 "0x00"
#define NIWAKI_LANES_1 "0x55"
#define NIWAKI_LANES_2 "0xaa"
#define NIWAKI_LANES_3 "0xff"
#define NIWAKI_MAC(j, v)                                                \
  "vmovdqu64 64*" #v "(%%rsi," NIWAKI_ROW_##j ",8), %%zmm28\n\t" \
  "vpdpbusd %%zmm29, %%zmm28, %[s" #j #v "]\n\t"
#define NIWAKI_COPY(j, v) "vmovdqa64 %[s" #j "0], %[s" #j #v "]\n\t"
#define NIWAKI_SUM(j, v) [s##j##v] "=&v"(acc[j][v])
#define NIWAKI_UP_TO_1(what, j) what(j, 0)
#define NIWAKI_UP_TO_2(what, j) NIWAKI_UP_TO_1(what, j) what(j, 1)
#define NIWAKI_UP_TO_3(what, j) NIWAKI_UP_TO_2(what, j) what(j, 2)
#define NIWAKI_UP_TO_4(what, j) NIWAKI_UP_TO_3(what, j) what(j, 3)
#define NIWAKI_UP_TO_5(what, j) NIWAKI_UP_TO_4(what, j) what(j, 4)
#define NIWAKI_UP_TO_6(what, j) NIWAKI_UP_TO_5(what, j) what(j, 5)
#define NIWAKI_UP_TO_7(what, j) NIWAKI_UP_TO_6(what, j) what(j, 6)
#define NIWAKI_AFTER_0_1(what, j) ""
#define NIWAKI_AFTER_0_2(what, j) what(j, 1)
#define NIWAKI_AFTER_0_3(what, j) NIWAKI_AFTER_0_2(what, j) what(j, 2)
#define NIWAKI_AFTER_0_4(what, j) NIWAKI_AFTER_0_3(what, j) what(j, 3)
#define NIWAKI_AFTER_0_5(what, j) NIWAKI_AFTER_0_4(what, j) what(j, 4)
#define NIWAKI_AFTER_0_6(what, j) NIWAKI_AFTER_0_5(what, j) what(j, 5)
#define NIWAKI_AFTER_0_7(what, j) NIWAKI_AFTER_0_6(what, j) what(j, 6)
#define NIWAKI_SUMS_1(j) NIWAKI_SUM(j, 0)
#define NIWAKI_SUMS_2(j) NIWAKI_SUMS_1(j), NIWAKI_SUM(j, 1)
#define NIWAKI_SUMS_3(j) NIWAKI_SUMS_2(j), NIWAKI_SUM(j, 2)
#define NIWAKI_SUMS_4(j) NIWAKI_SUMS_3(j), NIWAKI_SUM(j, 3)
#define NIWAKI_SUMS_5(j) NIWAKI_SUMS_4(j), NIWAKI_SUM(j, 4)
#define NIWAKI_SUMS_6(j) NIWAKI_SUMS_5(j), NIWAKI_SUM(j, 5)
#define NIWAKI_SUMS_7(j) NIWAKI_SUMS_6(j), NIWAKI_SUM(j, 6)
#define NIWAKI_START(vectors, j)                        \
  "vpbroadcastd 4*" #j "(%%rcx), %[s" #j "0]\n\t" \
  NIWAKI_AFTER_0_##vectors(NIWAKI_COPY, j)
#define NIWAKI_BLOCK(vectors, j)                                      \
  "vpshufd $" NIWAKI_LANES_##j ", %%zmm30, %%zmm29\n\t" \
  NIWAKI_UP_TO_##vectors(NIWAKI_MAC, j)

#define NIWAKI_SUMS_OF(vectors)                                                                                                     \
  template <>                                                                                                                       \
  struct Sums<vectors> {                                                                                                            \
    NIWAKI_INLINE static void of(const Lists& lists, V::Int (&acc)[kLists][vectors]) {                                              \
      __asm__ volatile(                                                                                                             \
          "movq 24(%[lists]), %%rcx\n\t"                                                                                            \
          NIWAKI_START(vectors, 0) NIWAKI_START(vectors, 1) NIWAKI_START(vectors, 2) NIWAKI_START(vectors, 3)                       \
          "movq (%[lists]), %%rsi\n\t"                                                                                              \
          "movq 8(%[lists]), %%rdx\n\t"                                                                                             \
          "movq 16(%[lists]), %%rcx\n\t"                                                                                            \
          "cmpq %%rcx, %%rdx\n\t"                                                                                                   \
          "je 2f\n\t"                                                                                                               \
          ".p2align 5\n"                                                                                                            \
          "1:\n\t"                                                                                                                  \
          "movq (%%rdx), %%rax\n\t"                                                                                                 \
          "vbroadcasti32x4 8(%%rdx), %%zmm30\n\t"                                                                                   \
          "prefetcht0 1536(%%rdx)\n\t"                                                                                              \
          "movzwl %%ax, %%r8d\n\t"                                                                                                  \
          "shrq $16, %%rax\n\t"                                                                                                     \
          "movzwl %%ax, %%r9d\n\t"                                                                                                  \
          "shrq $16, %%rax\n\t"                                                                                                     \
          "movzwl %%ax, %%r10d\n\t"                                                                                                 \
          "shrq $16, %%rax\n\t"                                                                                                     \
          NIWAKI_BLOCK(vectors, 0) NIWAKI_BLOCK(vectors, 1) NIWAKI_BLOCK(vectors, 2) NIWAKI_BLOCK(vectors, 3)                       \
          "addq $24, %%rdx\n\t"                                                                                                     \
          "cmpq %%rcx, %%rdx\n\t"                                                                                                   \
          "jne 1b\n"                                                                                                                \
          "2:\n"                                                                                                                    \
          : NIWAKI_SUMS_##vectors(0), NIWAKI_SUMS_##vectors(1), NIWAKI_SUMS_##vectors(2), NIWAKI_SUMS_##vectors(3)                  \
          : [lists] "r"(&lists)                                                                                                     \
          : "rax", "rcx", "rdx", "rsi", "r8", "r9", "r10", "xmm28", "xmm29", "xmm30", "cc", "memory");                                                   \
    }                                                                                                                               \
  };

NIWAKI_SUMS_OF(1)
NIWAKI_SUMS_OF(2)
NIWAKI_SUMS_OF(3)
NIWAKI_SUMS_OF(4)
NIWAKI_SUMS_OF(5)
NIWAKI_SUMS_OF(6)
NIWAKI_SUMS_OF(7)

// The sums of a set over this chunk and the ones before; `outputs`: whose they are.
template <int kVectors>
NIWAKI_INLINE void sums_of(const SparseTile& tile, Lists& lists, int count, const uint8_t* outputs, V::Int (&acc)[kLists][kVectors]) {
  int32_t start[kLists];
  for (int j = 0; j < kLists; ++j) start[j] = tile.first ? tile.bias[outputs[j]] : 0;
  lists.start = start;
  lists.end = lists.blocks + count * kRecordBytes;
  Sums<kVectors>::of(lists, acc);
  lists.blocks = lists.end;
  if (tile.first) return;
#pragma GCC unroll 4
  for (int j = 0; j < kLists; ++j) {
    const int32_t* partial = tile.partial + outputs[j] * kPitch;
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) acc[j][v] = V::add(acc[j][v], V::load_int(partial + v * V::kLanes));
  }
}

// A chunk that is not the last one: sums stay 32-bit, in any order.
template <int kVectors>
NIWAKI_INLINE void keep_sums(const SparseTile& tile, Lists& lists) {
  for (int o = 0; o < tile.outputs; o += kLists) {
    V::Int acc[kLists][kVectors];
    sums_of<kVectors>(tile, lists, tile.counts[o / kLists], tile.order + o, acc);
#pragma GCC unroll 4
    for (int j = 0; j < kLists; ++j) {
      int32_t* partial = tile.partial + tile.order[o + j] * kPitch;
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) V::store_int(partial + v * V::kLanes, acc[j][v]);
    }
  }
}

template <int kVectors>
NIWAKI_INLINE void store_floats(const SparseTile& tile, Lists& lists) {
  for (int o = 0; o < tile.outputs; o += kLists) {
    V::Int acc[kLists][kVectors];
    sums_of<kVectors>(tile, lists, tile.counts[o / kLists], tile.order + o, acc);
#pragma GCC unroll 4
    for (int j = 0; j < kLists; ++j) {
      const V::Float multiplier = V::broadcast(tile.multiplier[o + j]);
      float* out = tile.output.out_float + (o + j) * tile.output.float_stride;
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) V::store_float(out + v * V::kLanes, V::multiply(V::to_float(acc[j][v]), multiplier));
    }
  }
}

template <int kVectors, bool kResidual, Clamp kClamp>
NIWAKI_INLINE void store_bytes(const SparseTile& tile, Lists& lists) {
  const Limits limits = limits_of(tile.output);
  for (int o = 0; o < tile.outputs; o += kLists) {
    prefetch_output<kVectors>(tile.output, o / kLists, 1);
    V::Int acc[kLists][kVectors];
    sums_of<kVectors>(tile, lists, tile.counts[o / kLists], tile.order + o, acc);
    uint8_t* out = tile.output.out + o / kLists * tile.output.out_stride;
    const uint8_t* residual = kResidual ? tile.output.residual + o / kLists * tile.output.residual_stride : nullptr;
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      store_group<kResidual, kClamp>(acc[0][v], acc[1][v], acc[2][v], acc[3][v], tile.multiplier + o, limits,
                                       kResidual ? residual + v * kPixelBytes : nullptr, out + v * kPixelBytes);
  }
}

template <int kVectors, bool kResidual>
NIWAKI_INLINE void store_clamped(const SparseTile& tile, Lists& lists) {
  if (tile.output.plain) store_bytes<kVectors, kResidual, Clamp::none>(tile, lists);
  else if (tile.output.bounded) store_bytes<kVectors, kResidual, Clamp::bytes>(tile, lists);
  else store_bytes<kVectors, kResidual, Clamp::floats>(tile, lists);
}

template <int kVectors>
void sparse_tile(const SparseTile& tile) {
  Lists lists{tile.panel, tile.values, nullptr, nullptr};
  const ConvOutput& output = tile.output;
  if (!tile.last) return keep_sums<kVectors>(tile, lists);
  if (output.out_float) return store_floats<kVectors>(tile, lists);
  if (output.residual) store_clamped<kVectors, true>(tile, lists);
  else store_clamped<kVectors, false>(tile, lists);
}

}  // namespace

void sparse(const SparseTile& tile) {
  switch (tile.vectors) {
    case 1: return sparse_tile<1>(tile);
    case 2: return sparse_tile<2>(tile);
    case 3: return sparse_tile<3>(tile);
    case 4: return sparse_tile<4>(tile);
    case 5: return sparse_tile<5>(tile);
    case 6: return sparse_tile<6>(tile);
    default: return sparse_tile<7>(tile);
  }
}

}  // namespace niwaki::conv_avx512vnni
#endif
