// Which kernel a layer gets.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "kernels/conv/cost.h"
#include "kernels/conv/packed.h"

namespace niwaki {

namespace {

// Whether planes leave so many lanes of their vectors empty that outputs lie better along them. Planes of 7 x 7 fill 77 % of 16 lanes and are
// still faster the other way: their weights come from memory, which the dense kernel reads as one even stream.
bool fills_few_lanes(const ConvParams& params, const ConvKernels& kernels) {
  const double pixels = static_cast<double>(params.expected_pixels);
  return params.expected_pixels > 0 && pixels / (std::ceil(pixels / kernels.lanes) * kernels.lanes) < 0.6;
}

// Groups of channels, and layers of few of them, would leave most of a matrix unit empty.
const ConvKernels& kernels_of(const ConvParams& params, Isa isa) {
  constexpr int32_t kFew = 8;  // half of its rows
  const ConvKernels& kernels = select_conv(isa);
  const int64_t rows = div_up(params.in_channels, 4) * int64_t{1} * params.kernel_h * params.kernel_w;
  const bool fills = params.groups == 1 && params.out_channels >= kFew && rows >= kFew;
  if (kernels.pairs && rows > 65535) return select_conv(Isa::scalar);  // row_pairs.h numbers rows by 16 bits
  return kernels.matrix && !fills ? select_conv(Isa::avx512vnni) : kernels;
}

// How a kernel with outputs along the vectors would hold the layer's weights as numbers of 4 bits: where they are more than an L1 cache
// holds, so that half of the bytes are worth the instructions that unpack them.
std::optional<Nibbles> nibbles_of(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels) {
  constexpr int64_t kLeast = 48 * 1024;
  const int64_t count = int64_t{params.out_channels} * params.in_channels * params.kernel_h * params.kernel_w;
  if (count < kLeast || !WideConv::possible(params, kernels)) return std::nullopt;
  return find_nibbles({weights.weight, static_cast<std::size_t>(count)}, kernels);
}

}  // namespace

std::unique_ptr<PackedConv> pack_conv(const ConvParams& params, const ConvWeights& weights, Isa isa, ConvKind kind) {
  const ConvKernels& kernels = kernels_of(params, isa);
  const SparseCut cut(params, kernels);
  const bool by_group = GroupedSparse::possible(params, kernels);
  const bool can_be_sparse = by_group || (params.groups == 1 && cut.offsets_fit());
  std::optional<Nibbles> nibbles;
  if (params.linear) nibbles = nibbles_of(params, weights, kernels);
  const ConvCost cost = params.groups == 1 ? conv_cost(params, weights.weight, kernels, cut, nibbles ? 4 : 8)
                        : by_group         ? GroupedSparse::cost(params, weights, kernels)
                                           : ConvCost{};
  char text[160];
  const bool wide = params.linear    ? cost.wide <= cost.dense
                    : kernels.matrix ? params.expected_pixels > 0 && cost.wide <= cost.dense
                                     : fills_few_lanes(params, kernels);
  if (can_be_sparse && kind != ConvKind::dense) {
    const double other = params.linear && wide ? cost.wide : cost.dense;
    const double least = by_group ? cost.sparse : std::min(cost.sparse, cost.pick);
    if (kind == ConvKind::sparse || least < other) {
      std::snprintf(text, sizeof text, "%.0f %% of the blocks are zero: estimated %.2f times the speed of dense",
                    100 * (1 - cost.filled), least > 0 ? other / least : 1.0);
      const char* const reason = kind == ConvKind::sparse ? "sparse kernels were asked for" : text;
      if (by_group) return std::make_unique<GroupedSparse>(params, weights, kernels, reason);
      if (cost.pick < cost.sparse) return std::make_unique<PickConv>(params, weights, kernels, reason);
      return std::make_unique<SparseConv>(params, weights, kernels, reason);
    }
    std::snprintf(text, sizeof text, "%.0f %% of the blocks are zero: the sparse kernel is estimated to be no faster",
                  100 * (1 - cost.filled));
  } else {
    std::snprintf(text, sizeof text, "%s",
                  can_be_sparse ? "dense kernels were asked for"
                                : "groups of channels that are not in fours, and very large kernels, are dense");
  }
  if (wide && WideConv::possible(params, kernels)) {
    if (!params.linear) nibbles = nibbles_of(params, weights, kernels);
    return std::make_unique<WideConv>(params, weights, kernels, nibbles,
                                      std::string(text) + "; outputs along the vectors" + (nibbles ? ", weights of 4 bits" : ""));
  }
  if (kernels.matrix) return std::make_unique<MatrixConv>(params, weights, kernels, text);
  return std::make_unique<DenseConv>(params, weights, kernels, text);
}

}  // namespace niwaki
