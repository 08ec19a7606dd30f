// Which operators leave each element of time by itself, and which don't.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "graph/operators.h"
#include "graph/stream/streamer.h"

namespace niwaki {

void Streamer::flowing(const Node& node) {
  switch (node.op) {
    case Op::quantize:
    case Op::dequantize:
    case Op::add:
    case Op::mul:
    case Op::clamp:
    case Op::table:
    case Op::extreme:
    case Op::unary:
    case Op::binary:
    case Op::where:
    case Op::cast: return elementwise(node);
    case Op::prelu: return not_along(node, {1}, false);
    case Op::channel_shuffle: return not_along(node, {1}, false);
    case Op::channel_affine:
    case Op::softmax:
    case Op::topk:
    case Op::sort:
    case Op::cumextreme: return not_along(node, {integer(node, "axis")}, false);
    case Op::flip:
    case Op::roll: return not_along(node, integers(node, "axes"), false);
    case Op::arg_reduce: return not_along(node, {integer(node, "axis")}, integer(node, "keepdims") == 0);
    case Op::reduce: {
      std::vector<int64_t> axes = integers(node, "axes");
      if (axes.empty()) axes.resize(shape(node.inputs[0]).size()), std::iota(axes.begin(), axes.end(), 0);
      return not_along(node, std::move(axes), integer(node, "keepdims") == 0);
    }
    case Op::layer_norm:
    case Op::rms_norm: {
      std::vector<int64_t> axes(static_cast<size_t>(integer(node, "axes")));
      std::iota(axes.begin(), axes.end(), static_cast<int64_t>(shape(node.inputs[0]).size() - axes.size()));
      return not_along(node, std::move(axes), false);
    }
    case Op::cumsum:
    case Op::cumprod: return running(node);
    case Op::linear:
    case Op::dynamic_linear: return product(node);
    case Op::matmul: return matmul(node);
    case Op::conv2d:
    case Op::convolution:
    case Op::max_pool2d:
    case Op::avg_pool2d:
    case Op::pool: return window(node);
    case Op::unfold: return unfold(node);
    case Op::recurrent: return recurrent(node);
    case Op::pad: return pad(node);
    case Op::slice: return slice(node);
    case Op::concat: return concat(node);
    case Op::reshape: return reshape(node);
    case Op::expand: return expand(node);
    case Op::permute: return permute(node);
    case Op::upsample_nearest2d: return upsample(node);
    case Op::take: return take(node);
    // Of images, each by itself.
    case Op::adaptive_avg_pool2d:
    case Op::adaptive_pool:
    case Op::resize:
    case Op::interpolate:
    case Op::group_norm: {
      if (flow(node.inputs[0]).axis != 0 || attributes_vary(node)) refuse(node, "works on the whole signal at once.");
      return pass(node);
    }
    default: refuse(node, "has no form for pieces of a signal.");
  }
}

// Elements of all inputs that are broadcast to each other.
void Streamer::elementwise(const Node& node) {
  const std::vector<Flow> inputs = aligned(node);
  const size_t rank = shape(node.outputs[0]).size();
  Flow made;
  std::vector<int> values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    values.push_back(node.inputs[i] < 0 ? -1 : inputs[i].value);
    if (!inputs[i].flows()) continue;
    Flow moved = inputs[i];
    moved.axis += rank - shape(node.inputs[i]).size();
    if (made.flows() && (made.axis != moved.axis || made.count != moved.count))
      refuse(node, "compares each part of the signal with each other one.");
    made = moved;
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (node.inputs[i] < 0 || inputs[i].flows()) continue;
    const Sizes& sizes = shape(node.inputs[i]);
    if (made.axis + sizes.size() >= rank && sizes[made.axis + sizes.size() - rank] != 1)
      refuse(node, "takes a constant that is as long as the signal.");
  }
  made.before = inputs.size() == 1 ? before_of(node, made) : std::nullopt;
  if (attributes_vary(node)) refuse(node, "depends on how long the whole signal is.");
  set_outputs(node, copy(node, std::move(values)), made);
}

// What elements before the signal become, of operators that padding is often quantized and bounded by.
std::optional<double> Streamer::before_of(const Node& node, const Flow& in) const {
  if (!in.before) return std::nullopt;
  const double x = *in.before;
  const auto bounded = [&](double q) {
    const auto low = node.has("low") ? static_cast<double>(integer(node, "low")) : 0.0;
    const auto high = node.has("high") ? static_cast<double>(integer(node, "high")) : 255.0;
    return std::clamp(q, low, high);
  };
  switch (node.op) {
    case Op::concat: return std::nullopt;
    case Op::quantize: {
      const Quantization to = *graph_.value(node.outputs[0]).quantization;
      if (std::isnan(x)) return bounded(-HUGE_VAL);
      const float scaled = static_cast<float>(x) * (1.0f / to.scale);
      return bounded(std::nearbyint(static_cast<double>(scaled)) + to.zero_point);
    }
    case Op::dequantize: {
      const Quantization from = *graph_.value(node.inputs[0]).quantization;
      return static_cast<double>(static_cast<float>(x - from.zero_point) * from.scale);
    }
    case Op::clamp: return bounded(x);
    case Op::table: return static_cast<double>(node.tensor("table").unpacked().data()[static_cast<size_t>(x)]);
    default: return std::nullopt;
  }
}

void Streamer::pass(const Node& node, std::optional<size_t> out_axis) {
  if (attributes_vary(node)) refuse(node, "depends on how long the whole signal is.");
  for (size_t i = 1; i < node.inputs.size(); ++i)
    if (node.inputs[i] >= 0 && flow(node.inputs[i]).flows()) refuse(node, "has no form for pieces of two signals.");
  if (!flow(node.inputs[0]).flows()) refuse(node, "has no form for pieces of a signal.");
  Flow made = flow(node.inputs[0]);
  if (out_axis) made.axis = *out_axis;
  const bool moves = node.op == Op::permute || node.op == Op::slice || node.op == Op::take || node.op == Op::upsample_nearest2d;
  if (!moves) made.before.reset();
  set_outputs(node, copy(node, inputs_of(node)), made);
}

void Streamer::not_along(const Node& node, std::vector<int64_t> axes, bool removes) {
  const Flow& in = flow(node.inputs[0]);
  size_t out_axis = in.axis;
  for (const int64_t axis : axes) {
    if (static_cast<size_t>(axis) == in.axis) refuse(node, "works along time, over the whole signal at once.");
    if (removes && static_cast<size_t>(axis) < in.axis) --out_axis;
  }
  pass(node, out_axis);
}

void Streamer::product(const Node& node) {
  const size_t last = shape(node.inputs[0]).size() - 1;
  if (flow(node.inputs[0]).flows() && flow(node.inputs[0]).axis == last)
    refuse(node, "sums over time, over the whole signal at once.");
  if (node.inputs.size() > 1 && node.inputs[1] >= 0) return elementwise(node);  // a residual
  pass(node);
}

void Streamer::matmul(const Node& node) {
  const std::vector<Flow> inputs = aligned(node);
  const size_t rank = shape(node.outputs[0]).size();
  const bool transposed = integer(node, "transpose_b") != 0;
  Flow made;
  for (size_t i = 0; i < 2; ++i) {
    if (!inputs[i].flows()) continue;
    const size_t size = shape(node.inputs[i]).size();
    const size_t summed = size == 1 ? 0 : i == 0 || transposed ? size - 1 : size - 2;
    if (inputs[i].axis == summed) refuse(node, "sums over time, over the whole signal at once.");
    Flow moved = inputs[i];
    const bool batch = size > 2 && moved.axis < size - 2;
    moved.axis = batch ? moved.axis + rank - size : *time_axis(node.outputs[0]);
    if (made.flows() && (!batch || made.axis != moved.axis))
      refuse(node, "compares each part of the signal with each other one.");
    made = moved;
  }
  for (size_t i = 0; i < 2; ++i) {  // what is the same for all times has no such axis
    const Sizes& sizes = shape(node.inputs[i]);
    if (inputs[i].flows() || made.axis + 2 >= rank || made.axis + sizes.size() < rank) continue;
    if (sizes[made.axis + sizes.size() - rank] != 1) refuse(node, "takes a constant that is as long as the signal.");
  }
  made.before.reset();
  set_outputs(node, copy(node, {inputs[0].value, inputs[1].value}), made);
}

}  // namespace niwaki
