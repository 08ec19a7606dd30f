// Sparse kernels that work on the lists of a group of four outputs side by side: four outputs x up to seven vectors of pixels are 28 sums in
// registers. The end of a loop, which is mispredicted, comes once for four lists, and a group's sums become bytes without a detour.
#if defined(__x86_64__)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512DQ__)
#error "compile this file with the AVX-512 and VNNI flags of cmake/NiwakiCompile.cmake"
#endif

#include "kernels/common/vector.h"
#include "kernels/conv/finish.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx512vnni {
namespace {

#include "kernels/conv/x86_vnni.inc"

#include "kernels/conv/x86_body.inc"

constexpr int kLists = 4, kPitch = 7 * kLanes;

#include "kernels/conv/x86_sums.inc"

// The sums of a set over this chunk and the ones before; `outputs`: whose they are.
template <int kVectors>
NIWAKI_INLINE void sums_of(const SparseTile& tile, Lists& lists, int count, const uint8_t* outputs,
                           Ints (&acc)[kLists][kVectors]) {
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
    for (int v = 0; v < kVectors; ++v) acc[j][v] = add_ints(acc[j][v], load(partial + v * kLanes));
  }
}

// A chunk that is not the last one: sums stay 32-bit, in any order.
template <int kVectors>
NIWAKI_INLINE void keep_sums(const SparseTile& tile, Lists& lists) {
  for (int o = 0; o < tile.outputs; o += kLists) {
    Ints acc[kLists][kVectors];
    sums_of<kVectors>(tile, lists, tile.counts[o / kLists], tile.order + o, acc);
#pragma GCC unroll 4
    for (int j = 0; j < kLists; ++j) {
      int32_t* partial = tile.partial + tile.order[o + j] * kPitch;
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) store(partial + v * kLanes, acc[j][v]);
    }
  }
}

template <int kVectors>
NIWAKI_INLINE void store_float_sums(const SparseTile& tile, Lists& lists) {
  for (int o = 0; o < tile.outputs; o += kLists) {
    Ints acc[kLists][kVectors];
    sums_of<kVectors>(tile, lists, tile.counts[o / kLists], tile.order + o, acc);
#pragma GCC unroll 4
    for (int j = 0; j < kLists; ++j) {
      const Floats multiplier = set_floats(tile.multiplier[o + j]);
      float* out = tile.output.out_float + (o + j) * tile.output.float_stride;
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) store_floats(out + v * kLanes, mul(to_floats(acc[j][v]), multiplier));
    }
  }
}

template <int kVectors, bool kResidual, Clamp kClamp>
NIWAKI_INLINE void store_bytes(const SparseTile& tile, Lists& lists) {
  const Limits limits = limits_of(tile.output);
  for (int o = 0; o < tile.outputs; o += kLists) {
    prefetch_output<kVectors>(tile.output, o / kLists, 1);
    Ints acc[kLists][kVectors];
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
  else store_bytes<kVectors, kResidual, Clamp::bytes>(tile, lists);
}

// Where sums have no bounds.
template <int kVectors>
NIWAKI_INLINE void store_any_bytes(const SparseTile& tile, Lists& lists) {
  const ConvOutput& output = tile.output;
  for (int o = 0; o < tile.outputs; o += kLists) {
    Ints acc[kLists][kVectors], sums[kLists * kVectors];
    sums_of<kVectors>(tile, lists, tile.counts[o / kLists], tile.order + o, acc);
#pragma GCC unroll 4
    for (int j = 0; j < kLists; ++j)
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sums[j * kVectors + v] = acc[j][v];
    uint8_t* out = output.out + o / kLists * output.out_stride;
    const uint8_t* residual = output.residual ? output.residual + o / kLists * output.residual_stride : nullptr;
#pragma GCC unroll 1
    for (int v = 0; v < kVectors; ++v)
      store_any(output, sums + v, kVectors, tile.multiplier + o, residual ? residual + v * kPixelBytes : nullptr,
                out + v * kPixelBytes);
  }
}

template <int kVectors>
void sparse_tile(const SparseTile& tile) {
  Lists lists{tile.panel, tile.values, nullptr, nullptr};
  const ConvOutput& output = tile.output;
  if (!tile.last) return keep_sums<kVectors>(tile, lists);
  if (output.out_float) return store_float_sums<kVectors>(tile, lists);
  if (!output.bounded) return store_any_bytes<kVectors>(tile, lists);
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
