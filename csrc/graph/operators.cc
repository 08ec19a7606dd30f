#include "graph/operators.h"

#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/status.h"

namespace niwaki {
namespace {

constexpr int64_t kFar = 65535;  // the largest kernel, stride, dilation and padding: keeps products of them far from overflow
constexpr int64_t kInt32 = std::numeric_limits<int32_t>::max();

std::string text(int64_t value) { return std::to_string(value); }

const Value& input(const Graph& graph, const Node& node, size_t index) { return graph.value(node.inputs[index]); }

Known same_as_input(const Graph& graph, const Node& node) { return {input(graph, node, 0).rank, input(graph, node, 0).channels}; }

void expect_rank(const Graph& graph, const Node& node, int rank) {
  for (size_t i = 0; i < node.inputs.size(); ++i)
    if (input(graph, node, i).rank != rank)
      refuse(node, "its input must have rank " + text(rank) + ", not " + text(input(graph, node, i).rank) + ".");
}

void expect_channels(const Node& node, int64_t known, int64_t expected, const char* what) {
  if (known >= 0 && known != expected)
    refuse(node, std::string(what) + " has " + text(known) + " channels; " + text(expected) + " are expected.");
}

void check_bounds(const Node& node) {
  if (node.integer("low") > node.integer("high"))
    refuse(node, "low (" + text(node.integer("low")) + ") is above high (" + text(node.integer("high")) + ").");
}

// Weights, scales, bias and multipliers of a convolution or linear layer; `reduction` products go into each sum.
void check_layer(const Graph& graph, const Node& node, int64_t outputs, int64_t reduction) {
  check_bounds(node);
  if (outputs < 1 || reduction < 1) refuse(node, "its weight is empty.");
  if (outputs > kFar * 64) refuse(node, "has too many output channels (" + text(outputs) + ").");
  if (reduction > kMaxReduction)
    refuse(node, "sums " + text(reduction) + " products for each output; more than " + text(kMaxReduction) +
                     " could overflow int32. Use more groups, or leave the layer in float32.");
  for (const char* name : {"weight_scale", "bias"})
    if (node.tensor(name).shape()[0] != outputs)
      refuse(node, std::string(name) + " has " + text(node.tensor(name).shape()[0]) + " elements; the weight has " +
                       text(outputs) + " output channels.");
  const Quantization in = *input(graph, node, 0).quantization;
  const auto& out = graph.value(node.output).quantization;
  const Tensor& weight = node.tensor("weight");
  // Weights that lie packed in a file are unpacked when the network is, and here only where their values must be seen.
  Tensor unpacked;
  const auto row = [&](int64_t output) {
    if (unpacked.data() == nullptr) unpacked = weight.unpacked();
    return unpacked.as<int8_t>() + output * reduction;
  };
  const bool all_good = !weight.may_hold(0x80);
  const float* scale = node.tensor("weight_scale").as<float>();
  const int32_t* bias = node.tensor("bias").as<int32_t>();
  for (int64_t o = 0; o < outputs; ++o) {
    const std::string where = "output channel " + text(o);
    if (!all_good && std::memchr(row(o), 0x80, static_cast<size_t>(reduction)) != nullptr)
      refuse(node, "its weight holds -128 in " + where + "; int8 weights lie in -127 to 127.");
    if (!(scale[o] > 0.0f) || !std::isfinite(scale[o]))
      refuse(node, "weight_scale of " + where + " must be positive and finite, not " + std::to_string(scale[o]) + ".");
    const float multiplier = out ? (in.scale * scale[o]) / out->scale : in.scale * scale[o];
    if (!(multiplier <= kMaxFactor)) refuse(node, "the scales of " + where + " do not fit together: their ratio is above 1e25.");
    int64_t sum = reduction * 127;  // of the magnitudes, at most: the real one is only needed where that does not do
    if (sum * 255 + std::llabs(int64_t{bias[o]}) <= kInt32) continue;
    sum = std::accumulate(row(o), row(o) + reduction, int64_t{0}, [](int64_t all, int value) { return all + std::abs(value); });
    if (sum * 255 + std::llabs(int64_t{bias[o]}) > kInt32)
      refuse(node, "the sum of " + where + " could overflow int32: its bias is " + text(bias[o]) +
                       ". Use a larger weight_scale there.");
  }
}

void check_residual(const Graph& graph, const Node& node, int64_t channels) {
  if (node.inputs.size() < 2) return;
  if (!graph.value(node.output).quantization) refuse(node, "a residual needs a uint8 output.");
  expect_channels(node, input(graph, node, 1).channels, channels, "the residual");
}

Known check_conv2d(const Graph& graph, const Node& node) {
  expect_rank(graph, node, 4);
  const auto& shape = node.tensor("weight").shape();
  const int64_t groups = node.integer("groups");
  if (shape[0] % groups != 0)
    refuse(node, "its " + text(shape[0]) + " output channels do not divide into " + text(groups) + " groups.");
  if (shape[2] > kFar || shape[3] > kFar) refuse(node, "its kernel is larger than " + text(kFar) + ".");
  if (shape[1] > kInt32 / groups) refuse(node, "has too many input channels.");
  check_layer(graph, node, shape[0], shape[1] * shape[2] * shape[3]);
  expect_channels(node, input(graph, node, 0).channels, shape[1] * groups, "its input");
  check_residual(graph, node, shape[0]);
  return {4, shape[0]};
}

Known check_linear(const Graph& graph, const Node& node) {
  expect_rank(graph, node, 2);
  const auto& shape = node.tensor("weight").shape();
  check_layer(graph, node, shape[0], shape[1]);
  expect_channels(node, input(graph, node, 0).channels, shape[1], "its input");
  check_residual(graph, node, shape[0]);
  return {2, shape[0]};
}

Known check_pool(const Graph& graph, const Node& node) {
  expect_rank(graph, node, 4);
  if (node.attributes.contains("low")) check_bounds(node);
  return same_as_input(graph, node);
}

Known check_pair(const Graph& graph, const Node& node) {
  check_bounds(node);
  const Value &a = input(graph, node, 0), &b = input(graph, node, 1);
  if (a.rank != b.rank)
    refuse(node, "its inputs have ranks " + text(a.rank) + " and " + text(b.rank) + "; they must be the same.");
  if (a.channels >= 0) expect_channels(node, b.channels, a.channels, "its second input");
  return {a.rank, a.channels >= 0 ? a.channels : b.channels};
}

Known check_clamp(const Graph& graph, const Node& node) {
  check_bounds(node);
  return same_as_input(graph, node);
}

Known check_table(const Graph& graph, const Node& node) {
  if (node.tensor("table").elements() != 256)
    refuse(node, "its table must have 256 elements, not " + text(node.tensor("table").elements()) + ".");
  return same_as_input(graph, node);
}

Known check_concat(const Graph& graph, const Node& node) {
  expect_rank(graph, node, input(graph, node, 0).rank);
  int64_t channels = 0;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const int64_t part = input(graph, node, i).channels;
    channels = part < 0 || channels < 0 ? -1 : channels + part;
  }
  return {input(graph, node, 0).rank, channels};
}

Known check_slice(const Graph& graph, const Node& node) {
  const Value& in = input(graph, node, 0);
  if (node.integer("axis") >= in.rank)
    refuse(node, "axis " + text(node.integer("axis")) + " is beyond the rank of its input (" + text(in.rank) + ").");
  if (node.integer("axis") != 1 || in.channels < 0) return {in.rank, node.integer("axis") == 1 ? -1 : in.channels};
  auto position = [&](int64_t at) { return std::min(std::max(at < 0 ? at + in.channels : at, int64_t{0}), in.channels); };
  const int64_t count = position(node.integer("end")) - position(node.integer("start"));
  if (count <= 0) refuse(node, "selects no channels of " + text(in.channels) + ".");
  return {in.rank, (count + node.integer("step") - 1) / node.integer("step")};
}

Known check_pad(const Graph& graph, const Node& node) {
  const Value& in = input(graph, node, 0);
  const auto& padding = node.integers("padding");
  if (in.rank == 2 && (padding[2] | padding[3] | padding[4] | padding[5]) != 0)
    refuse(node, "pads rows or columns of an input of rank 2.");
  return {in.rank, in.channels < 0 ? -1 : in.channels + padding[0] + padding[1]};
}

Known check_reshape(const Graph& graph, const Node& node) {
  const auto& shape = node.integers("shape");
  if (shape.size() != 1 && shape.size() != 3)
    refuse(node, "its shape must have 1 or 3 dimensions after the batch, not " + text(static_cast<int64_t>(shape.size())) + ".");
  int open = 0;
  for (int64_t size : shape) {
    if (size == 0) refuse(node, "its shape has a dimension of 0.");
    open += size == -1;
  }
  if (open > 1) refuse(node, "more than one dimension of its shape is -1.");
  const Value& in = input(graph, node, 0);
  if (shape.size() == 1 && in.rank == 2 && in.channels >= 0 && shape[0] != -1 && shape[0] != in.channels)
    refuse(node, "cannot make " + text(shape[0]) + " elements of " + text(in.channels) + ".");
  const int64_t channels = shape[0] != -1 ? shape[0] : shape.size() == 1 && in.rank == 2 ? in.channels : -1;
  return {shape.size() == 1 ? 2 : 4, channels};
}

Known check_shuffle(const Graph& graph, const Node& node) {
  const Value& in = input(graph, node, 0);
  if (in.channels >= 0 && in.channels % node.integer("groups") != 0)
    refuse(node, "its " + text(in.channels) + " channels do not divide into " + text(node.integer("groups")) + " groups.");
  return same_as_input(graph, node);
}

Known check_upsample(const Graph& graph, const Node& node) {
  expect_rank(graph, node, 4);
  return same_as_input(graph, node);
}

const std::vector<OperatorRule>& rules() {
  const AttributeRule kernel{"kernel", 2, 1, kFar, {}}, stride{"stride", 2, 1, kFar, {1, 1}},
      dilation{"dilation", 2, 1, kFar, {1, 1}};
  const AttributeRule padding{"padding", 4, 0, kFar, {0, 0, 0, 0}}, ceil_mode{"ceil_mode", 1, 0, 1, {0}};
  const AttributeRule low{"low", 1, 0, 255, {0}}, high{"high", 1, 0, 255, {255}};
  const AttributeRule groups{"groups", 1, 1, kInt32, {1}};
  const std::vector<TensorRule> convolution = {
      {"weight", DType::i8, 4}, {"weight_scale", DType::f32, 1}, {"bias", DType::i32, 1}};
  const std::vector<TensorRule> matrix = {{"weight", DType::i8, 2}, {"weight_scale", DType::f32, 1}, {"bias", DType::i32, 1}};
  constexpr int kMany = 4096;
  // In the order of Op. Never destroyed: other threads may read networks while the process exits.
  static const std::vector<OperatorRule>& all = *new std::vector<OperatorRule>{
      {Op::quantize, "quantize", 1, 1, Makes::u8, true, false, {}, {}, same_as_input},
      {Op::dequantize, "dequantize", 1, 1, Makes::f32, false, false, {}, {}, same_as_input},
      {Op::conv2d,
       "conv2d",
       1,
       2,
       Makes::either,
       false,
       false,
       {stride, padding, dilation, groups, low, high},
       convolution,
       check_conv2d},
      {Op::linear, "linear", 1, 2, Makes::either, false, false, {low, high}, matrix, check_linear},
      {Op::max_pool2d,
       "max_pool2d",
       1,
       1,
       Makes::u8,
       false,
       true,
       {kernel, stride, padding, dilation, ceil_mode},
       {},
       check_pool},
      {Op::avg_pool2d,
       "avg_pool2d",
       1,
       1,
       Makes::u8,
       false,
       false,
       {kernel, stride, padding, ceil_mode, {"count_include_pad", 1, 0, 1, {1}}, {"divisor", 1, 0, kInt32, {0}}, low, high},
       {},
       check_pool},
      {Op::adaptive_avg_pool2d,
       "adaptive_avg_pool2d",
       1,
       1,
       Makes::u8,
       false,
       false,
       {{"size", 2, 1, kFar, {}}, low, high},
       {},
       check_pool},
      {Op::add, "add", 2, 2, Makes::u8, false, false, {low, high}, {}, check_pair},
      {Op::mul, "mul", 2, 2, Makes::u8, false, false, {low, high}, {}, check_pair},
      {Op::clamp, "clamp", 1, 1, Makes::u8, false, true, {low, high}, {}, check_clamp},
      {Op::table, "table", 1, 1, Makes::u8, false, false, {}, {{"table", DType::u8, 1}}, check_table},
      {Op::concat, "concat", 1, kMany, Makes::u8, false, true, {}, {}, check_concat},
      {Op::slice,
       "slice",
       1,
       1,
       Makes::u8,
       false,
       true,
       {{"axis", 1, 1, 3, {}},
        {"start", 1, -kInt32, kInt32, {0}},
        {"end", 1, -kInt32, kInt32, {kInt32}},
        {"step", 1, 1, kInt32, {1}}},
       {},
       check_slice},
      {Op::pad, "pad", 1, 1, Makes::u8, false, true, {{"padding", 6, 0, kFar, {}}, {"value", 1, -1, 255, {-1}}}, {}, check_pad},
      {Op::reshape, "reshape", 1, 1, Makes::u8, false, true, {{"shape", 0, -1, kInt32, {}}}, {}, check_reshape},
      {Op::channel_shuffle, "channel_shuffle", 1, 1, Makes::u8, false, true, {groups}, {}, check_shuffle},
      {Op::upsample_nearest2d,
       "upsample_nearest2d",
       1,
       1,
       Makes::u8,
       false,
       true,
       {{"scale", 2, 1, kFar, {}}},
       {},
       check_upsample},
  };
  return all;
}

}  // namespace

const OperatorRule& operator_rule(Op op) { return rules()[static_cast<size_t>(op)]; }

const OperatorRule* find_operator(const std::string& name) {
  for (const OperatorRule& rule : rules())
    if (name == rule.name) return &rule;
  return nullptr;
}

std::string describe(const Node& node) { return node.name + " (" + op_name(node.op) + ")"; }

void refuse(const Node& node, const std::string& what) { throw Error(Status::invalid_argument, describe(node) + ": " + what); }

bool is_depthwise(const Node& conv) {
  const auto& shape = conv.tensor("weight").shape();
  return conv.op == Op::conv2d && shape[1] == 1 && conv.integer("groups") == shape[0];
}

}  // namespace niwaki
