// Between float32 and uint8, and the layers that multiply int8 weights.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "graph/operators/rules.h"
#include "graph/operators/window.h"

namespace niwaki::rules {
namespace {

// quantize of a first convolution may write the four phases of an image: see graph/phases.h.
std::vector<Operand> infer_quantize(const Inference& node) {
  Dims dims = node.input(0).dims;
  if (node.attributes.contains("phases")) dims = {dims[0], dims[1] * 4, floor_div(dims[2] + 1, 2), floor_div(dims[3] + 1, 2)};
  return one(DType::u8, std::move(dims));
}

std::vector<Operand> infer_dequantize(const Inference& node) { return one(DType::f32, node.input(0).dims); }

std::vector<Operand> layer_output(const Inference& node, Dims dims) {
  if (node.given(1)) {
    if (!node.is_quantized(0)) refuse(node.node, "a residual needs a uint8 output.");
    const Dims& residual = node.input(1).dims;
    bool same = residual.size() == dims.size();
    for (size_t i = 0; same && i < dims.size(); ++i) same = !differ(residual[i], dims[i]);
    if (!same) refuse(node.node, "the residual is " + text(node, residual) + " and the output " + text(node, dims) + ".");
  }
  return one(node.is_quantized(0) ? DType::u8 : DType::f32, std::move(dims));
}

std::vector<Operand> infer_conv2d(const Inference& node) {
  const auto& weight = node.node.tensor("weight").shape();
  const Dims& in = node.input(0).dims;
  expect_channels(node, in[1], weight[1] * node.integer("groups"), "its input");
  expect_pixels(node);
  Dims out = {in[0], weight[0]};
  for (size_t axis = 0; axis < 2; ++axis)
    out.push_back(window_along(node, axis, weight[2 + axis], PaddingOrder::before_then_after).count(node, in[2 + axis], axis, 2));
  return layer_output(node, std::move(out));
}

std::vector<Operand> infer_linear(const Inference& node) {
  const auto& weight = node.node.tensor("weight").shape();
  Dims out = node.input(0).dims;
  expect_channels(node, out.back(), weight[1], "its input");
  out.back() = weight[0];
  return layer_output(node, std::move(out));
}

void check_reduction(const Node& node, int64_t reduction) {
  if (reduction > kMaxReduction)
    refuse(node, "sums " + text(reduction) + " products for each output; more than " + text(kMaxReduction) +
                     " could overflow int32. Use more groups, or leave the layer in float32.");
}

void check_sizes(const Node& node) {
  const auto& shape = node.tensor("weight").shape();
  const int64_t outputs = shape[0];
  int64_t reduction = 1;
  for (size_t i = 1; i < shape.size(); ++i) reduction *= shape[i];
  if (outputs < 1 || reduction < 1) refuse(node, "its weight is empty.");
  if (outputs > kFar * 64) refuse(node, "has too many output channels (" + text(outputs) + ").");
  check_reduction(node, reduction);
  for (const char* name : {"weight_scale", "bias"})
    if (node.tensor(name).shape()[0] != outputs)
      refuse(node, std::string(name) + " has " + text(node.tensor(name).shape()[0]) + " elements; the weight has " +
                       text(outputs) + " output channels.");
}

// Rows of int8 weights, one for each output channel. Weights that lie packed in a file are unpacked when the network is, and here only
// where their values must be seen.
class Rows {
 public:
  explicit Rows(const Tensor& weight)
      : weight_(weight), size_(weight.elements() / weight.shape()[0]), good_(!weight.may_hold(0x80)) {}
  int64_t size() const { return size_; }
  bool hold_lowest(int64_t output) { return !good_ && std::memchr(row(output), 0x80, static_cast<size_t>(size_)) != nullptr; }
  int64_t magnitude(int64_t output) {
    return std::accumulate(row(output), row(output) + size_, int64_t{0},
                           [](int64_t all, int value) { return all + std::abs(value); });
  }

 private:
  const int8_t* row(int64_t output) {
    if (unpacked_.data() == nullptr) unpacked_ = weight_.unpacked();
    return unpacked_.as<int8_t>() + output * size_;
  }

  const Tensor& weight_;
  int64_t size_;
  bool good_;
  Tensor unpacked_;
};

// For messages alone: a network has tens of thousands of channels, all of which are checked when it is opened.
std::string channel(int64_t output) { return "output channel " + text(output); }

void check_row(const Node& node, Rows& rows, int64_t output, float scale, const char* weight = "weight") {
  if (rows.hold_lowest(output))
    refuse(node, "its " + std::string(weight) + " holds -128 in " + channel(output) + "; int8 weights lie in -127 to 127.");
  if (!(scale > 0.0f) || !std::isfinite(scale))
    refuse(node, std::string(weight) + "_scale of " + channel(output) + " must be positive and finite, not " +
                     std::to_string(scale) + ".");
}

void check_layer(const Inference& inference) {
  const Node& node = inference.node;
  check_sizes(node);
  check_bounds(node);
  Rows rows(node.tensor("weight"));
  const float in = inference.in_quantizations[0]->scale;
  const float* scale = node.tensor("weight_scale").as<float>();
  const int32_t* bias = node.tensor("bias").as<int32_t>();
  const int64_t outputs = node.tensor("weight").shape()[0];
  for (int64_t o = 0; o < outputs; ++o) {
    check_row(node, rows, o, scale[o]);
    const float multiplier = inference.is_quantized(0) ? (in * scale[o]) / inference.quantizations[0]->scale : in * scale[o];
    if (!(multiplier <= kMaxFactor))
      refuse(node, "the scales of " + channel(o) + " do not fit together: their ratio is above 1e25.");
    int64_t sum = rows.size() * 127;  // of the magnitudes, at most: the real one is only needed where that does not do
    if (sum * 255 + std::llabs(int64_t{bias[o]}) <= kInt32) continue;
    sum = rows.magnitude(o);
    if (sum * 255 + std::llabs(int64_t{bias[o]}) > kInt32)
      refuse(node, "the sum of " + channel(o) + " could overflow int32: its bias is " + text(bias[o]) +
                       ". Use a larger weight_scale there.");
  }
}

void check_conv2d(const Inference& inference) {
  const Node& node = inference.node;
  const auto& shape = node.tensor("weight").shape();
  const int64_t groups = node.integer("groups");
  if (shape[0] % groups != 0)
    refuse(node, "its " + text(shape[0]) + " output channels do not divide into " + text(groups) + " groups.");
  if (shape[2] > kFar || shape[3] > kFar) refuse(node, "its kernel is larger than " + text(kFar) + ".");
  if (shape[1] > kInt32 / groups) refuse(node, "has too many input channels.");
  check_layer(inference);
}

std::vector<Operand> infer_dynamic_linear(const Inference& node) {
  const auto& weight = node.node.tensor("weight").shape();
  Dims out = node.input(0).dims;
  expect_channels(node, out.back(), weight[1], "its input");
  out.back() = weight[0];
  return one(DType::f32, std::move(out));
}

void check_dynamic_linear(const Inference& inference) {
  const Node& node = inference.node;
  check_sizes(node);
  Rows rows(node.tensor("weight"));
  const float *scale = node.tensor("weight_scale").as<float>(), *bias = node.tensor("bias").as<float>();
  const int64_t outputs = node.tensor("weight").shape()[0];
  for (int64_t o = 0; o < outputs; ++o) {
    check_row(node, rows, o, scale[o]);
    if (!std::isfinite(bias[o])) refuse(node, "bias of " + channel(o) + " must be finite, not " + std::to_string(bias[o]) + ".");
  }
}

bool local_linear(const BatchInference& node) { return always(node) && node.out[0].rank() > 1; }

}  // namespace

void check_int8_matrix(const Node& node, const char* name) {
  const Tensor &weight = node.tensor(name), &scale = node.tensor((std::string(name) + "_scale").c_str());
  if (weight.elements() < 1) refuse(node, std::string(name) + " is empty.");
  check_reduction(node, weight.shape()[1]);
  Rows rows(weight);
  for (int64_t row = 0; row < weight.shape()[0]; ++row) check_row(node, rows, row, scale.as<float>()[row], name);
}

namespace {

std::vector<TensorRule> layer_tensors(int rank, DType bias = DType::i32) {
  return {{"weight", types_of(DType::i8), rank}, {"weight_scale", kFloat, 1}, {"bias", types_of(bias), 1}};
}

}  // namespace

OperatorRule quantize() {
  return {.summary = "float32 to uint8: round(x / scale) + zero point, within 0 to 255",
          .inputs = {{"data", kFloat, 1}},
          .infer = infer_quantize,
          .batch_local = always};
}

OperatorRule dequantize() {
  return {.summary = "uint8 to float32: (q - zero point) * scale",
          .inputs = {{"data", kU8}},
          .infer = infer_dequantize,
          .batch_local = always};
}

OperatorRule conv2d() {
  return {
      .summary =
          "2-d convolution with int8 weights [outputs, inputs / groups, height, width]; uint8 or float32 output. Its second "
          "input is added to the result",
      .inputs = {{"data", kU8, 4, 4}, {"residual", kU8, 4, 4, true}},
      .attributes = with_bounds({integers("stride", 2, 1, kFar, Dims{1, 1}), expressions("padding", 4, 0, kFar, Dims{0, 0, 0, 0}),
                                 integers("dilation", 2, 1, kFar, Dims{1, 1}), integers("groups", 1, 1, kInt32, Dims{1})}),
      .tensors = layer_tensors(4),
      .check = check_conv2d,
      .infer = infer_conv2d,
      .batch_local = always};
}

OperatorRule linear() {
  return {.summary =
              "product of the last axis with int8 weights [outputs, inputs]; uint8 or float32 output. Its second input is added "
              "to the result",
          .inputs = {{"data", kU8, 1}, {"residual", kU8, 1, kMaxRank, true}},
          .attributes = with_bounds({}),
          .tensors = layer_tensors(2),
          .check = check_layer,
          .infer = infer_linear,
          .batch_local = local_linear};
}

OperatorRule dynamic_linear() {
  return {.summary = "product of the last axis with int8 weights [outputs, inputs]; each row is quantized by its own range",
          .inputs = {{"data", kFloat, 1}},
          .tensors = layer_tensors(2, DType::f32),
          .check = check_dynamic_linear,
          .infer = infer_dynamic_linear,
          .batch_local = local_linear};
}

}  // namespace niwaki::rules
