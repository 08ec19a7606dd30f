// What fusion (fuse.h) put into a conv2d or linear, before its products and behind its sums. The node then has these attributes.
#pragma once

#include "graph/graph.h"

namespace niwaki {

// A mul by a number for each image and channel before a 1 x 1 convolution, whose third input is these numbers: scale and zero point of the
// products' bytes, low and high. The second input is -1 where there is no residual.
inline constexpr const char* kProduct = "product";
inline constexpr size_t kFactors = 2;  // which input

// A table or prelu behind it (kernels/common/after.h): scale and zero point of the bytes that the sums become. The tensor "table" or "slope"
// is that of the node that went away, and so are the bounds of prelu, low and high.
inline constexpr const char* kSums = "sums";
inline constexpr const char* kSlopeBounds = "slope_bounds";

// Of the bytes that are multiplied by the weights, and of those that the sums become (none where the output is float32).
Quantization multiplied_quantization(const Graph& graph, const Node& layer);
std::optional<Quantization> sums_quantization(const Graph& graph, const Node& layer);

}  // namespace niwaki
