// Moving elements: parts of values, joined, cut out, chosen by indices, framed.
#include <algorithm>
#include <cmath>

#include "graph/operators/rules.h"
#include "graph/operators/window.h"

namespace niwaki::rules {
namespace {

std::vector<Operand> infer_concat(const Inference& node) {
  const size_t axis = axis_of(node);
  Dims out = node.input(0).dims;
  for (size_t i = 1; i < node.in.size(); ++i) {
    const Dims& part = node.input(i).dims;
    expect_same_types(node, 0, i);
    if (part.size() != out.size())
      refuse(node.node, "its inputs have ranks " + text(node.input(0).rank()) + " and " + text(node.input(i).rank()) +
                            "; they must be the same.");
    for (size_t k = 0; k < out.size(); ++k) {
      if (k != axis && differ(out[k], part[k]))
        refuse(node.node, "its inputs are " + text(node, node.input(0).dims) + " and " + text(node, part) +
                              "; they may only differ along axis " + text(static_cast<int64_t>(axis)) + ".");
      out[k] = k == axis ? out[k] + part[k] : known(out[k], part[k]);
    }
  }
  return one(node.input(0).dtype, std::move(out));
}

// Where `at`, which counts from the end where it is negative, lies in an axis of `size` elements.
Dim position(const Dim& at, const Dim& size) {
  if (at.never_negative()) return at.is_constant() && at.value() >= kInt32 ? size : min(at, size);
  if (at.is_constant()) return max(size + at, 0);
  return Dim::unknown();  // of either sign
}

std::vector<Operand> infer_slice(const Inference& node) {
  const size_t axis = axis_of(node);
  Dims out = node.input(0).dims;
  const Dim start = position(node.dims("start")[0], out[axis]), end = position(node.dims("end")[0], out[axis]);
  const int64_t step = node.integer("step");
  out[axis] = floor_div(max(end - start, 0) + (step - 1), step);
  return one(node.input(0).dtype, std::move(out));
}

std::vector<Operand> infer_pad(const Inference& node) {
  const Operand& in = node.input(0);
  const std::string& mode = node.node.word("mode");
  const Dims& padding = node.dims("padding");
  Dims out = in.dims;
  for (size_t i = 0; i < out.size(); ++i) {
    const Dim &before = padding[2 * i], &after = padding[2 * i + 1], size = out[i];
    out[i] = size + before + after;
    const auto refuse_axis = [&](const char* why) {
      refuse(node.node, std::string("pads axis ") + text(static_cast<int64_t>(i)) + ", of " + text(node, size) +
                            " elements, by " + text(node, before) + " and " + text(node, after) + why);
    };
    if (!before.is_constant() || !after.is_constant() || !size.is_constant()) continue;
    const int64_t most = std::max(before.value(), after.value()), least = std::min(before.value(), after.value());
    if (least < 0 && in.dtype == DType::u8) refuse_axis("; a negative one is for other types.");
    const int64_t cut = std::max<int64_t>(-before.value(), 0) + std::max<int64_t>(-after.value(), 0);
    if (cut > size.value() || (cut > 0 && is_zero(out[i]) && mode != "constant")) refuse_axis(": too much is cut.");
    if (most <= 0) continue;
    if (mode == "reflect" && most >= size.value()) refuse_axis("; reflection takes fewer than there are.");
    if (mode == "replicate" && size.value() == 0) refuse_axis(": nothing is there to repeat.");
    if (mode == "circular" && most > size.value() - cut) refuse_axis("; circular padding goes around once at most.");
  }
  return one(in.dtype, std::move(out));
}

void check_pad(const Inference& node) {
  const DType dtype = node.input(0).dtype;
  const double value = node.node.number("value");
  if (dtype == DType::u8 && node.node.word("mode") != "constant")
    refuse(node.node, "pads uint8 values in the mode constant alone.");
  const bool whole = std::isfinite(value) && value == std::floor(value) && std::abs(value) < 0x1p53;
  if (dtype != DType::f32 && dtype != DType::u8 && !whole)
    refuse(node.node, std::string("value must be an integer for ") + dtype_name(dtype) + ", not " + std::to_string(value) + ".");
  const double least = dtype == DType::i8 ? -128 : 0, most = dtype == DType::i8 ? 127 : 255;
  if (contains(kBytes, dtype) && !(value >= least && value <= most))
    refuse(node.node, std::string("value must be one that ") + dtype_name(dtype) + " holds, not " + std::to_string(value) + ".");
}

bool local_pad(const BatchInference& node) {
  const Dims& padding = node.node.dims("padding");
  return always(node) && padding[0] == Dim(0) && padding[1] == Dim(0);
}

std::vector<Operand> infer_take(const Inference& node) {
  const size_t axis = axis_of(node);
  const Dims &data = node.input(0).dims, &indices = node.input(1).dims;
  Dims out(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(axis));
  out.insert(out.end(), indices.begin(), indices.end());
  out.insert(out.end(), data.begin() + static_cast<std::ptrdiff_t>(axis) + 1, data.end());
  return one(node.input(0).dtype, std::move(out));
}

// Each image has its own row of indices into the same table, or the same indices choose from each image.
bool local_take(const BatchInference& node) {
  const bool first = node.node.integer("axis") == 0;
  return node.batched[1] ? !node.batched[0] && first : !first;
}

std::vector<Operand> infer_gather(const Inference& node) {
  const size_t axis = axis_of(node);
  const Dims &data = node.input(0).dims, &indices = node.input(1).dims;
  bool fits = data.size() == indices.size();
  for (size_t i = 0; fits && i < data.size(); ++i)
    fits = i == axis || !data[i].is_constant() || !indices[i].is_constant() || indices[i].value() <= data[i].value();
  if (!fits)
    refuse(node.node, "its indices " + text(node, indices) + " are larger than its data " + text(node, data) +
                          " along another axis than " + text(static_cast<int64_t>(axis)) + ".");
  return one(node.input(0).dtype, indices);
}

bool local_gather(const BatchInference& node) {
  return if_not_first_axis(node) && node.input(0).dims[0] == node.input(1).dims[0];
}

std::vector<Operand> infer_scatter(const Inference& node) {
  const size_t axis = axis_of(node);
  const Operand& data = node.input(0);
  const Dims &indices = node.input(1).dims, &updates = node.input(2).dims;
  expect_same_types(node, 0, 2);
  bool fits = data.dims.size() == updates.size() && indices.size() == updates.size();
  for (size_t i = 0; fits && i < updates.size(); ++i) {
    fits = indices[i] == Dim(1) || !differ(indices[i], updates[i]);
    if (i != axis)
      fits = fits && (!data.dims[i].is_constant() || !updates[i].is_constant() || updates[i].value() <= data.dims[i].value());
  }
  if (!fits)
    refuse(node.node, "its indices " + text(node, indices) + ", updates " + text(node, updates) + " and data " +
                          text(node, data.dims) + " do not fit.");
  if (data.dtype == DType::boolean && node.node.word("function") != "set") refuse(node.node, "does not compute with bool.");
  return {data};
}

bool local_scatter(const BatchInference& node) {
  return if_not_first_axis(node) && node.input(0).dims[0] == node.input(1).dims[0] &&
         node.input(0).dims[0] == node.input(2).dims[0];
}

std::vector<Operand> infer_unfold(const Inference& node) {
  const Dims& in = node.input(0).dims;
  const Dims &kernel = node.dims("kernel"), &padding = node.dims("padding");
  Dim places = 1;
  for (size_t axis = 0; axis < 2; ++axis) {
    const Window window{kernel[axis].value(), node.dims("stride")[axis].value(), node.dims("dilation")[axis].value(),
                        padding[axis], padding[axis]};
    places = places * window.count(node, in[2 + axis], axis, 2);
  }
  return one(DType::f32, {in[0], in[1] * kernel[0] * kernel[1], places});
}

}  // namespace

OperatorRule concat() {
  return {.summary = "its inputs one after the other along an axis",
          .inputs = {{"data", kAny, 1}},
          .repeats_input = true,
          .keeps_scale = true,
          .attributes = {axis()},
          .infer = infer_concat,
          .batch_local = if_not_first_axis};
}

OperatorRule slice() {
  return {.summary = "elements start to end of an axis in steps, by Python's rules: negative ones count from the end",
          .inputs = {{"data", kAny, 1}},
          .keeps_scale = true,
          .attributes = {axis(), expressions("start", 1, INT64_MIN, INT64_MAX, Dims{0}),
                         expressions("end", 1, INT64_MIN, INT64_MAX, Dims{INT64_MAX}), integers("step", 1, 1, kInt32, Dims{1})},
          .infer = infer_slice,
          .batch_local = if_not_first_axis};
}

OperatorRule pad() {
  return {.summary =
              "elements before and after each axis: [before_0, after_0, before_1, ...]; negative ones cut, but not uint8 values. "
              "What is written is value, or for uint8 values q (-1: the zero point)",
          .inputs = {{"data", kAny, 1}},
          .keeps_scale = true,
          .attributes = {expressions("padding", kAxisPairs, -kInt32, kInt32),
                         word("mode", {"constant", "reflect", "replicate", "circular"}, "constant"), number("value", 0.0),
                         integers("q", 1, -1, 255, Dims{-1})},
          .check = check_pad,
          .infer = infer_pad,
          .batch_local = local_pad};
}

OperatorRule take() {
  return {.summary =
              "elements of an axis by their indices, as numpy.take. wrap: negative indices count from the end. Others that do "
              "not exist are errors when it runs",
          .inputs = {{"data", kAny, 1}, {"indices", kIndex}},
          .keeps_scale = true,
          .attributes = {axis(), flag("wrap")},
          .infer = infer_take,
          .batch_local = local_take};
}

OperatorRule gather() {
  return {.summary = "elements by indices along an axis, as torch.gather. Indices that do not exist are errors when it runs",
          .inputs = {{"data", kAny, 1}, {"indices", kInt64, 1}},
          .keeps_scale = true,
          .attributes = {axis()},
          .infer = infer_gather,
          .batch_local = local_gather};
}

OperatorRule scatter() {
  return {.summary =
              "the data with updates at the places of an axis that indices name, as torch.scatter: set there, the last of "
              "several, or "
              "added to what is there, multiplied, or the larger or smaller of the two, one after the other. Dims of indices are "
              "those of updates, or 1. Indices that do not exist are errors when it runs",
          .inputs = {{"data", kPlain, 1}, {"indices", kInt64, 1}, {"updates", kPlain, 1}},
          .attributes = {axis(), word("function", {"set", "add", "mul", "max", "min"}, "set")},
          .infer = infer_scatter,
          .batch_local = local_scatter};
}

OperatorRule unfold() {
  return {.summary =
              "the windows of images as columns, [N, C * kernel[0] * kernel[1], places], as torch's unfold; padding for both "
              "sides of an axis",
          .inputs = {{"data", kFloat, 4, 4}},
          .attributes = {integers("kernel", 2, 1, kFar), integers("stride", 2, 1, kFar, Dims{1}),
                         integers("padding", 2, 0, kFar, Dims{0}), integers("dilation", 2, 1, kFar, Dims{1})},
          .infer = infer_unfold,
          .batch_local = always};
}

}  // namespace niwaki::rules
