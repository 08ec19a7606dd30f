// The makers of steps, one for each family of operators.
#pragma once

#include <memory>
#include <vector>

#include "runtime/step.h"
#include "runtime/steps/attributes.h"

namespace niwaki {

// The uint8 family, and what moves its values.
std::unique_ptr<Step> make_conv(const StepMaker& maker);       // conv2d and linear
std::unique_ptr<Step> make_depthwise(const StepMaker& maker);  // conv2d with a uint8 output and no residual, groups = channels
std::unique_ptr<Step> make_pool_u8(const StepMaker& maker);    // max_pool2d, avg_pool2d, adaptive_avg_pool2d
std::unique_ptr<Step> make_pointwise(const StepMaker& maker);  // add, extreme, prelu, mul, clamp, table
std::unique_ptr<Step> make_copy(
    const StepMaker& maker);  // concat, slice, pad, reshape, permute, channel_shuffle, pixel_shuffle, upsample_nearest2d
std::unique_ptr<Step> make_end(const StepMaker& maker);  // quantize, dequantize

// Row-major values.
// reshape, permute, expand, concat, slice, pad, flip, roll, tile, take, gather, scatter, unfold
std::unique_ptr<Step> make_movement(const StepMaker& maker);
std::unique_ptr<Step> make_values(const StepMaker& maker);       // full, arange, linspace, size
std::unique_ptr<Step> make_elementwise(const StepMaker& maker);  // unary, binary, where, cast, channel_affine
// reduce, arg_reduce, cumsum, cumprod, cumextreme, softmax, layer_norm, rms_norm, group_norm, topk, sort
std::unique_ptr<Step> make_rows(const StepMaker& maker);
std::unique_ptr<Step> make_product(const StepMaker& maker);  // matmul, attention, dynamic_linear
std::unique_ptr<Step> make_recurrent(const StepMaker& maker);
std::unique_ptr<Step> make_sequence_lengths(const StepMaker& maker);
std::unique_ptr<Step> make_windows(const StepMaker& maker);  // convolution, pool, adaptive_pool, interpolate, resize, grid_sample

inline const Quantization& quantization(const Graph& graph, int value) { return *graph.value(value).quantization; }
inline int32_t narrow(int64_t value) { return static_cast<int32_t>(value); }  // what the graph has checked to fit

inline bool has_residual(const Node& layer) { return layer.inputs.size() > 1 && layer.inputs[1] >= 0; }

// A table or prelu that was fused into a layer (graph/fused_parts.h); null where there is none.
std::unique_ptr<After> make_after(const StepMaker& maker);

// (input scale * weight scale) / output scale of each output channel; without the division for a float32 output.
std::vector<float> multipliers(const Graph& graph, const Node& node);

// An axis that may be counted from the end.
inline int64_t from_front(int64_t axis, int rank) { return axis < 0 ? axis + rank : axis; }

}  // namespace niwaki
