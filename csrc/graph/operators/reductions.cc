// Along axes: sums and their like, norms, order.
#include <algorithm>

#include "graph/operators/rules.h"

namespace niwaki::rules {
namespace {

constexpr TypeSet kOrdered = types_of(DType::f32, DType::i64, DType::i32);

std::vector<Operand> infer_reduce(const Inference& node) {
  const std::string& function = node.node.word("function");
  const Operand& in = node.input(0);
  const bool asks = function == "any" || function == "all", extremes = function == "max" || function == "min";
  const TypeSet types = asks ? kBool : extremes || function == "sum" ? types_of(DType::f32, DType::i64) : kFloat;
  if (!contains(types, in.dtype))
    refuse(node.node, function + " takes " + text_of(types) + ", not " + dtype_name(in.dtype) + ".");
  std::vector<bool> gone(in.dims.size(), node.dims("axes").empty());
  for (const size_t axis : axes_of(node)) gone[axis] = true;
  Dims out;
  for (size_t i = 0; i < in.dims.size(); ++i) {
    if (gone[i] && extremes && is_zero(in.dims[i])) refuse(node.node, "has no " + function + " of an axis without elements.");
    if (!gone[i]) out.push_back(in.dims[i]);
    else if (node.integer("keepdims") != 0) out.push_back(1);
  }
  return one(in.dtype, std::move(out));
}

bool local_reduce(const BatchInference& node) {
  const Dims& axes = node.node.dims("axes");
  return always(node) && !axes.empty() && std::find(axes.begin(), axes.end(), Dim(0)) == axes.end();
}

std::vector<Operand> infer_arg_reduce(const Inference& node) {
  const size_t axis = axis_of(node);
  Dims out = node.input(0).dims;
  if (is_zero(out[axis])) refuse(node.node, "has no " + node.node.word("function") + " of an axis without elements.");
  if (node.integer("keepdims") != 0) out[axis] = 1;
  else out.erase(out.begin() + static_cast<std::ptrdiff_t>(axis));
  return one(DType::i64, std::move(out));
}

std::vector<Operand> infer_along_axis(const Inference& node) {
  axis_of(node);
  return same_as_input(node);
}

// Optional tensors of the shape of the input's last axes.
std::vector<Operand> infer_layer_norm(const Inference& node) {
  Dims out = node.input(0).dims;
  const auto axes = static_cast<size_t>(node.integer("axes"));
  if (axes > out.size())
    refuse(node.node,
           "normalizes " + text(node.integer("axes")) + " axes of an input of rank " + text(node.input(0).rank()) + ".");
  for (const char* name : {"weight", "bias"}) {
    const Tensor* tensor = node.node.find_tensor(name);
    if (tensor == nullptr) continue;
    const Dims shape(tensor->shape().begin(), tensor->shape().end()),
        last(out.end() - static_cast<std::ptrdiff_t>(axes), out.end());
    bool same = shape.size() == axes;
    for (size_t i = 0; same && i < axes; ++i) {
      Dim& dim = out[out.size() - axes + i];
      same = !differ(dim, shape[i]);
      dim = known(dim, shape[i]);
    }
    if (!same)
      refuse(node.node, std::string(name) + " is " + text(node, shape) + " and the last axes are " + text(node, last) + ".");
  }
  return one(DType::f32, std::move(out));
}

bool local_layer_norm(const BatchInference& node) { return always(node) && node.node.integer("axes") < node.out[0].rank(); }

std::vector<Operand> infer_group_norm(const Inference& node) {
  Dims out = node.input(0).dims;
  const int64_t groups = node.integer("groups");
  if (out[1].is_constant() && out[1].value() % groups != 0)
    refuse(node.node, "its " + text(node, out[1]) + " channels do not divide into " + text(groups) + " groups.");
  for (const char* name : {"weight", "bias"})
    if (const Tensor* tensor = node.node.find_tensor(name)) {
      expect_channels(node, out[1], tensor->shape()[0], "its input");
      out[1] = known(out[1], tensor->shape()[0]);
    }
  return one(DType::f32, std::move(out));
}

std::vector<Operand> infer_topk(const Inference& node) {
  const size_t axis = axis_of(node);
  const Operand& in = node.input(0);
  const Dim& k = node.dims("k")[0];
  Dims out = in.dims;
  if (k.is_constant() && out[axis].is_constant() && k.value() > out[axis].value())
    refuse(node.node, "takes " + text(node, k) + " of " + text(node, out[axis]) + " elements.");
  out[axis] = k;
  return {{in.dtype, out}, {DType::i64, out}};
}

std::vector<Operand> infer_with_places(const Inference& node) {
  axis_of(node);
  return {node.input(0), {DType::i64, node.input(0).dims}};
}

AttributeRule epsilon() { return number("eps", 1e-5); }
AttributeRule last_axes() { return integers("axes", 1, 1, kMaxRank, Dims{1}); }

void check_epsilon(const Inference& node) {
  if (!(node.node.number("eps") >= 0) || node.node.number("eps") > 1e30)
    refuse(node.node, "eps must be a small number, not " + std::to_string(node.node.number("eps")) + ".");
}

}  // namespace

OperatorRule reduce() {
  return {.summary =
              "over the given axes, all where none is given. norm2: root of the sum of squares; var: with n - correction. sum, "
              "max and min take int64, too, any and all bool",
          .inputs = {{"data", kPlain}},
          .attributes = {word("function", {"sum", "mean", "max", "min", "prod", "any", "all", "norm2", "sum_abs", "var"}),
                         integers("axes", kAnyCount, 0, kMaxRank - 1, Dims{}), flag("keepdims"), number("correction", 1.0)},
          .infer = infer_reduce,
          .batch_local = local_reduce};
}

OperatorRule arg_reduce() {
  return {.summary = "where the largest or smallest element of an axis is, the first of equals; not-a-numbers win",
          .inputs = {{"data", kOrdered, 1}},
          .attributes = {word("function", {"argmax", "argmin"}), axis(), flag("keepdims")},
          .infer = infer_arg_reduce,
          .batch_local = if_not_first_axis};
}

OperatorRule cumsum() {
  return {.summary = "sums of an axis' elements up to each",
          .inputs = {{"data", types_of(DType::f32, DType::i64), 1}},
          .attributes = {axis()},
          .infer = infer_along_axis,
          .batch_local = if_not_first_axis};
}

OperatorRule cumprod() {
  return {.summary = "products of an axis' elements up to each",
          .inputs = {{"data", types_of(DType::f32, DType::i64), 1}},
          .attributes = {axis()},
          .infer = infer_along_axis,
          .batch_local = if_not_first_axis};
}

OperatorRule cumextreme() {
  return {.summary =
              "the largest or smallest of an axis' elements up to each, and where it is, the last of equals; not-a-numbers stay",
          .inputs = {{"data", kOrdered, 1}},
          .attributes = {axis(), flag("largest", true)},
          .infer = infer_with_places,
          .batch_local = if_not_first_axis};
}

OperatorRule softmax() {
  return {.summary = "exp(x - max) over its sum along an axis, or its logarithm",
          .inputs = {{"data", kFloat, 1}},
          .attributes = {axis(), flag("log")},
          .infer = infer_along_axis,
          .batch_local = if_not_first_axis};
}

OperatorRule layer_norm() {
  return {.summary = "(x - mean) / sqrt(variance + eps) * weight + bias over the last axes",
          .inputs = {{"data", kFloat, 1}},
          .attributes = {last_axes(), epsilon()},
          .tensors = {{"weight", kFloat, kAnyRank, true}, {"bias", kFloat, kAnyRank, true}},
          .check = check_epsilon,
          .infer = infer_layer_norm,
          .batch_local = local_layer_norm};
}

OperatorRule rms_norm() {
  return {.summary = "x / sqrt(mean of squares + eps) * weight over the last axes",
          .inputs = {{"data", kFloat, 1}},
          .attributes = {last_axes(), epsilon()},
          .tensors = {{"weight", kFloat, kAnyRank, true}},
          .check = check_epsilon,
          .infer = infer_layer_norm,
          .batch_local = local_layer_norm};
}

OperatorRule group_norm() {
  return {
      .summary = "layer norm over the channels of a group and everything behind them, with a weight and a bias for each channel",
      .inputs = {{"data", kFloat, 2}},
      .attributes = {integers("groups", 1, 1, kInt32), epsilon()},
      .tensors = {{"weight", kFloat, 1, true}, {"bias", kFloat, 1, true}},
      .check = check_epsilon,
      .infer = infer_group_norm,
      .batch_local = always};
}

OperatorRule topk() {
  return {.summary = "the k largest or smallest of an axis, in order, and where they are",
          .inputs = {{"data", kOrdered, 1}},
          .attributes = {expressions("k", 1, 0, kInt32), axis(), flag("largest", true)},
          .infer = infer_topk,
          .batch_local = if_not_first_axis};
}

OperatorRule sort() {
  return {.summary = "an axis in order, equals as they were, and where each element was",
          .inputs = {{"data", kOrdered, 1}},
          .attributes = {axis(), flag("descending")},
          .infer = infer_with_places,
          .batch_local = if_not_first_axis};
}

}  // namespace niwaki::rules
