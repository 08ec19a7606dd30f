// Which kernel a layer gets.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/conv/packed.h"

namespace niwaki {

namespace {

// Blocks of four input channels of one output at one tap that hold a weight other than zero.
int64_t count_blocks(const ConvParams& params, const int8_t* weight) {
  const int64_t channels = params.in_channels, taps = int64_t{params.kernel_h} * params.kernel_w;
  int64_t blocks = 0;
  for (int64_t o = 0; o < params.out_channels; ++o) {
    const int8_t* row = weight + o * channels * taps;
    for (int64_t first = 0; first < channels; first += 4) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        bool any = false;
        for (int64_t channel = first; channel < first + 4 && channel < channels; ++channel) any |= row[channel * taps + tap] != 0;
        blocks += any;
      }
    }
  }
  return blocks;
}

struct Estimate {
  double dense, sparse;  // cycles (on Arm: instructions) per vector of pixels, for all outputs
  double filled;         // share of the blocks that are not zero
};

// Cycles of one multiply-accumulate of a vector in the dense kernel: what its instructions and the ports of today's cores give.
double mac_cycles(const ConvKernels& kernels) {
  if (kernels.isa == Isa::scalar) return 40.0;
  return kernels.isa == Isa::avx2 ? 1.4 : 0.5;
}

// Arm: instructions, because no board was there to time; docs/arm.md has the counts. Of the innermost loops, per vector of four pixels: a dense
// row for one output; a sparse block, whose address and weights are shared by the vectors of a tile.
struct ArmLoops {
  double dense, sparse, block;
};

ArmLoops arm_loops(Isa isa) {
  if (isa == Isa::neon) return {4.0, 3.5, 5.5};
  return {isa == Isa::i8mm ? 0.96 : 1.33, 1.5, 4.0};
}

// Vectors of a tile, on average; a plane of unknown size fills them.
double tile_vectors(const ConvParams& params, const ConvKernels& kernels) {
  if (params.expected_pixels == 0) return kernels.sparse_vectors;
  const double all = std::ceil(static_cast<double>(params.expected_pixels) / kernels.lanes);
  return all / std::ceil(all / kernels.sparse_vectors);
}

// Vectors that the dense kernel multiplies for one of the sparse kernel's: a few pixels past whole vectors cost it an eighth of a vector each.
double dense_share(const ConvParams& params, const ConvKernels& kernels) {
  const int64_t whole = params.expected_pixels / kernels.lanes, rest = params.expected_pixels % kernels.lanes;
  const int64_t tiles = (whole + kernels.dense_vectors - 1) / kernels.dense_vectors;
  if (rest == 0 || rest > tiles * kernels.dense_tail) return 1.0;
  return (static_cast<double>(whole) + static_cast<double>(rest) / kernels.dense_outputs) / static_cast<double>(whole + 1);
}

// Fitted to the layers of ResNet-50 on AVX512-VNNI (docs/performance.md). A block costs a little more than a dense row, because its
// pixels are loaded for one output only. Each list (an output in a chunk) costs the end of its loop, which is mispredicted the more
// often the longer lists are, and the way of its sums to memory and back. The panel is filled, where a dense 1 x 1 layer reads in place.
Estimate estimate(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels) {
  const double rows = std::ceil(params.in_channels / 4.0) * params.kernel_h * params.kernel_w, outputs = params.out_channels;
  const auto kept = static_cast<double>(count_blocks(params, weights.weight));
  const double chunks = std::ceil(std::ceil(params.in_channels / 4.0) / SparseConv::chunk_groups(params, kernels));
  const double lists = outputs * chunks, filled = rows > 0 ? kept / (rows * outputs) : 0.0;
  if (isa_includes(kernels.isa, Isa::neon)) {
    // The end of a list is mispredicted: about as long as 25 instructions. A vector's sums take 7 instructions to become bytes, and 3 more to
    // go to memory and back.
    const ArmLoops loops = arm_loops(kernels.isa);
    const double vectors = tile_vectors(params, kernels), list = 30.0 + 25.0;
    const double panel = rows * 4.0, dense_panel = kernels.flip != 0 || params.kernel_h * params.kernel_w > 1 ? panel : 0.0;
    return {
        rows * outputs * loops.dense + outputs * 6.0 + dense_panel,
        kept * (loops.sparse + loops.block / vectors) + lists * list / vectors + outputs * 7.0 + (lists - outputs) * 3.0 + panel,
        filled};
  }
  const double mac = mac_cycles(kernels);
  const double list = std::min(36.0, 14.0 + 2.0 * kept / lists);
  return {(rows * outputs * mac + outputs * 3.0) * dense_share(params, kernels),
          kept * mac * 1.2 + lists * (list / tile_vectors(params, kernels) + 1.0) + rows * 2.0, filled};
}

}  // namespace

std::unique_ptr<PackedConv> pack_conv(const ConvParams& params, const ConvWeights& weights, Isa isa, ConvKind kind) {
  const ConvKernels& kernels = select_conv(isa);
  const bool can_be_sparse = params.groups == 1 && SparseConv::offsets_fit(params, kernels);
  char text[160];
  if (can_be_sparse && kind != ConvKind::dense) {
    const Estimate cost = estimate(params, weights, kernels);
    // One image of a linear layer fills one lane of a sparse vector, but all of a dense one; that waits for memory, though.
    const double dense = params.linear ? cost.dense / kernels.lanes * 4 : cost.dense;
    if (kind == ConvKind::sparse || cost.sparse < dense) {
      std::snprintf(text, sizeof text, "%.0f %% of the blocks are zero: estimated %.2f times the speed of dense",
                    100 * (1 - cost.filled), cost.sparse > 0 ? dense / cost.sparse : 1.0);
      return std::make_unique<SparseConv>(params, weights, kernels,
                                          kind == ConvKind::sparse ? "sparse kernels were asked for" : text);
    }
    std::snprintf(text, sizeof text, "%.0f %% of the blocks are zero: too few for the sparse kernel", 100 * (1 - cost.filled));
  } else {
    std::snprintf(text, sizeof text, "%s",
                  can_be_sparse ? "dense kernels were asked for" : "grouped convolutions and very large kernels are dense");
  }
  if (WideConv::possible(params, kernels)) {
    // Of the lanes of its vectors, how many a plane of pixels fills. Planes of 7 x 7 fill 77 % of 16 lanes and are still faster that way:
    // their weights come from memory, which the dense kernel reads as one even stream.
    const double pixels = static_cast<double>(params.expected_pixels);
    const double filled = pixels / (std::ceil(pixels / kernels.lanes) * kernels.lanes);
    if (params.linear || (params.expected_pixels > 0 && filled < 0.6))
      return std::make_unique<WideConv>(params, weights, kernels, std::string(text) + "; outputs along the vectors");
  }
  return std::make_unique<DenseConv>(params, weights, kernels, text);
}

}  // namespace niwaki
