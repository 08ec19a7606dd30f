// The makers of steps, one for each family of operators.
#pragma once

#include <memory>

#include "runtime/step.h"
#include "runtime/steps/attributes.h"

namespace niwaki {

std::unique_ptr<Step> make_conv(const Graph& graph, const Node& node, Isa isa, ConvKind kind,
                                int64_t expected_pixels);  // conv2d and linear
std::unique_ptr<Step> make_depthwise(const Graph& graph, const Node& node, Isa isa);
std::unique_ptr<Step> make_pool(const Graph& graph, const Node& node, Isa isa);       // max, average, adaptive average
std::unique_ptr<Step> make_pointwise(const Graph& graph, const Node& node, Isa isa);  // add, mul, clamp, table
std::unique_ptr<Step> make_copy(const Graph& graph, const Node& node);          // concat, slice, pad, reshape, channel_shuffle
std::unique_ptr<Step> make_end(const Graph& graph, const Node& node, Isa isa);  // quantize, dequantize

// Row-major values.
// reshape, permute, expand, concat, slice, pad, flip, roll, tile, take, gather, unfold
std::unique_ptr<Step> make_movement(const StepMaker& maker);
std::unique_ptr<Step> make_values(const StepMaker& maker);   // full, arange, linspace, size
std::unique_ptr<Step> make_windows(const StepMaker& maker);  // convolution, pool, adaptive_pool, interpolate, grid_sample

inline const Quantization& quantization(const Graph& graph, int value) { return *graph.value(value).quantization; }
inline int32_t narrow(int64_t value) { return static_cast<int32_t>(value); }  // what the graph has checked to fit

// (input scale * weight scale) / output scale of each output channel; without the division for a float32 output.
std::vector<float> multipliers(const Graph& graph, const Node& node);

}  // namespace niwaki
