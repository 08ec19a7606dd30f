// Which kernel a layer gets.
#include <cmath>
#include <cstdio>

#include "kernels/conv/cost.h"
#include "kernels/conv/packed.h"

namespace niwaki {

std::unique_ptr<PackedConv> pack_conv(const ConvParams& params, const ConvWeights& weights, Isa isa, ConvKind kind) {
  const ConvKernels& kernels = select_conv(isa);
  const SparseCut cut(params, kernels);
  const bool one_row = params.linear && params.expected_pixels == 1;
  const bool can_be_sparse = params.groups == 1 && cut.offsets_fit();
  char text[160];
  if (can_be_sparse && kind != ConvKind::dense) {
    const ConvCost cost = conv_cost(params, weights.weight, kernels, cut);
    // The one pixel of a linear layer fills one lane of a sparse vector, but all of a dense one; that waits for memory, though.
    const double dense = one_row ? cost.dense / kernels.lanes * 4 : cost.dense;
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
    if (one_row || (params.expected_pixels > 0 && filled < 0.6))
      return std::make_unique<WideConv>(params, weights, kernels, std::string(text) + "; outputs along the vectors");
  }
  return std::make_unique<DenseConv>(params, weights, kernels, text);
}

}  // namespace niwaki
