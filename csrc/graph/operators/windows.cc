// Convolutions of float32 values of one to three spatial axes, and resizing, of uint8 values, too.
#include <algorithm>
#include <cmath>

#include "graph/operators/rules.h"
#include "graph/operators/window.h"

namespace niwaki::rules {
namespace {

// Output of a transposed convolution along one axis: what the windows cover, without the padding.
Dim spread(const Inference& node, size_t axis, const Dim& size, const Window& window) {
  const Dim covered =
      (size - 1) * window.stride + extent(window) + node.dims("output_padding")[axis] - window.before - window.after;
  if (covered.is_constant() && covered.value() < 1)
    refuse(node.node, "its padding leaves nothing of an output from " + text(node, size) + " elements along axis " +
                          text(static_cast<int64_t>(axis) + 2) + ".");
  return covered;
}

std::vector<Operand> infer_convolution(const Inference& node) {
  const auto& weight = node.node.tensor("weight").shape();
  const Dims& in = node.input(0).dims;
  const int64_t groups = node.integer("groups");
  const bool transposed = node.integer("transposed") != 0;
  expect_channels(node, in[1], transposed ? weight[0] : weight[1] * groups, "its input");
  expect_pixels(node);
  Dims out = {in[0], transposed ? weight[1] * groups : weight[0]};
  for (size_t axis = 0; axis + 2 < in.size(); ++axis) {
    const Window window = window_along(node, axis, weight[2 + axis], PaddingOrder::pairs);
    out.push_back(transposed ? spread(node, axis, in[2 + axis], window) : window.count(node, in[2 + axis], axis, in.size() - 2));
  }
  return one(DType::f32, std::move(out));
}

void check_convolution(const Inference& inference) {
  const Node& node = inference.node;
  const auto& shape = node.tensor("weight").shape();
  const int64_t groups = node.integer("groups");
  const bool transposed = node.integer("transposed") != 0;
  if (shape.size() != inference.input(0).dims.size())
    refuse(node, "its weight has rank " + text(static_cast<int64_t>(shape.size())) + " and its input " +
                     text(inference.input(0).rank()) + "; they must be the same.");
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] < 1) refuse(node, "its weight is empty.");
    if (i >= 2 && shape[i] > kFar) refuse(node, "its kernel is larger than " + text(kFar) + ".");
    if (shape[i] > kInt32) refuse(node, "has too many channels.");
  }
  if (shape[1] > kInt32 / groups) refuse(node, "has too many channels.");
  if (shape[0] % groups != 0)
    refuse(node, "its " + text(shape[0]) + (transposed ? " input" : " output") + " channels do not divide into " + text(groups) +
                     " groups.");
  const int64_t outputs = transposed ? shape[1] * groups : shape[0];
  if (const Tensor* bias = node.find_tensor("bias"); bias != nullptr && bias->shape()[0] != outputs)
    refuse(node, "bias has " + text(bias->shape()[0]) + " elements; the weight has " + text(outputs) + " output channels.");
  for (size_t axis = 0; axis + 2 < shape.size(); ++axis) {
    const int64_t more = inference.dims("output_padding")[axis].value();
    if (more != 0 && !transposed) refuse(node, "takes output_padding where it is transposed alone.");
    if (more != 0 && more >= std::max(inference.dims("stride")[axis].value(), inference.dims("dilation")[axis].value()))
      refuse(node, "output_padding must be smaller than stride or dilation, not " + text(more) + ".");
  }
}

// Of interpolate and resize.
std::vector<Operand> infer_resized(const Inference& node) {
  const Dims& in = node.input(0).dims;
  expect_pixels(node);
  Dims out = {in[0], in[1]};
  out.insert(out.end(), node.dims("size").begin(), node.dims("size").end());
  return one(node.input(0).dtype, std::move(out));
}

void check_resized(const Inference& inference) {
  const Node& node = inference.node;
  const std::string& mode = node.word("mode");
  if (mode == "cubic" && inference.input(0).rank() != 4)
    refuse(node, "takes inputs of rank 4 in the mode cubic, not " + text(inference.input(0).rank()) + ".");
  if (node.integer("align_corners") != 0 && mode.starts_with("nearest"))
    refuse(node, "has no corners to align in the mode " + mode + ".");
  for (const double scale : node.numbers("scales"))
    if (!(scale >= 0) || !std::isfinite(scale))
      refuse(node, "scales must be positive, or 0 where the sizes say them, not " + std::to_string(scale) + ".");
}

// Pixels that are taken as they are keep their numbers.
void check_resize(const Inference& inference) {
  check_resized(inference);
  const Node& node = inference.node;
  if (node.word("mode").starts_with("nearest") && inference.is_quantized(0) &&
      inference.in_quantizations[0] != inference.quantizations[0])
    refuse(node, "keeps scale and zero point in the mode " + node.word("mode") +
                     ", so its input and its output must have the same ones.");
}

std::vector<AttributeRule> resizing() {
  AttributeRule scales = number("scales");
  scales.count = kSpatial;
  scales.otherwise = std::vector<double>{0.0};
  return {word("mode", {"nearest", "nearest-exact", "linear", "cubic"}), expressions("size", kSpatial, 1, kInt32),
          flag("align_corners"), std::move(scales)};
}

std::vector<Operand> infer_grid_sample(const Inference& node) {
  const Dims &in = node.input(0).dims, &grid = node.input(1).dims;
  expect_pixels(node);
  if (differ(in[0], grid[0]) || differ(grid[3], 2))
    refuse(node.node,
           "its inputs are " + text(node, in) + " and " + text(node, grid) + "; [N, C, H, W] and [N, H', W', 2] are expected.");
  return one(DType::f32, {known(in[0], grid[0]), in[1], grid[1], grid[2]});
}

}  // namespace

OperatorRule convolution() {
  return {.summary =
              "convolution of one to three axes, padding in pairs [before_0, after_0, ...]. weight: [outputs, inputs / groups, "
              "kernel...], transposed: [inputs, outputs / groups, kernel...]",
          .inputs = {{"data", kFloat, 3, 5}},
          .attributes = {integers("stride", kSpatial, 1, kFar, Dims{1}), expressions("padding", kSpatialPairs, 0, kFar, Dims{0}),
                         integers("dilation", kSpatial, 1, kFar, Dims{1}), integers("groups", 1, 1, kInt32, Dims{1}),
                         flag("transposed"), integers("output_padding", kSpatial, 0, kFar, Dims{0})},
          .tensors = {{"weight", kFloat, kAnyRank}, {"bias", kFloat, 1, true}},
          .check = check_convolution,
          .infer = infer_convolution,
          .batch_local = always};
}

OperatorRule interpolate() {
  return {.summary =
              "resizing to the given size, as torch's interpolate; linear: bilinear and trilinear, too. scales: what positions "
              "are counted with, 0 for those of the sizes",
          .inputs = {{"data", kFloat, 3, 5}},
          .attributes = resizing(),
          .check = check_resized,
          .infer = infer_resized,
          .batch_local = always};
}

OperatorRule resize() {
  return {.summary = "interpolate of images [N, C, H, W], or rows [N, C, L], with weights that are whole numbers of 2^-14",
          .inputs = {{"data", kU8, 3, 4}},
          .attributes = resizing(),
          .check = check_resize,
          .infer = infer_resized,
          .batch_local = always};
}

OperatorRule grid_sample() {
  return {.summary = "pixels of an image at the places of a grid [N, H, W, 2], x and y from -1 to 1, as torch's grid_sample",
          .inputs = {{"data", kFloat, 4, 4}, {"grid", kFloat, 4, 4}},
          .attributes = {word("mode", {"bilinear", "nearest", "bicubic"}, "bilinear"),
                         word("padding_mode", {"zeros", "border", "reflection"}, "zeros"), flag("align_corners")},
          .infer = infer_grid_sample,
          .batch_local = always};
}

}  // namespace niwaki::rules
