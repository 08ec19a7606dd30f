// Values that come from no input.
#include <cmath>

#include "graph/operators/rules.h"

namespace niwaki::rules {
namespace {

std::vector<Operand> infer_constant(const Inference& node) {
  const Tensor& value = node.node.tensor("value");
  const bool plain = value.dtype() == DType::u8 && !node.is_quantized(0);
  return one(plain ? DType::byte : value.dtype(), Dims(value.shape().begin(), value.shape().end()));
}

std::vector<Operand> infer_full(const Inference& node) { return one(dtype_of(node.node.word("dtype")), node.dims("shape")); }

void check_full(const Inference& node) {
  const std::string& word = node.node.word("dtype");
  const DType dtype = dtype_of(word);
  const double value = node.node.number("value");
  if (dtype == DType::f32) return;
  const double most = dtype == DType::i64 ? 0x1p53 : dtype == DType::i32 ? 0x1p31 - 1 : dtype == DType::u8 ? 255 : 1;
  const double least = dtype == DType::i64 ? -0x1p53 : dtype == DType::i32 ? -0x1p31 : 0;
  if (!(value >= least && value <= most) || value != std::floor(value))
    refuse(node.node, "value must be an integer that " + word + " holds, not " + std::to_string(value) + ".");
}

// The elements of 0, 1, 2, ... along axis 0 are all the same.
bool local_full(const BatchInference& node) { return node.out[0].rank() > 0; }

std::vector<Operand> infer_arange(const Inference& node) {
  const Dim &start = node.dims("start")[0], &end = node.dims("end")[0];
  const int64_t step = node.integer("step");
  const Dim way = step > 0 ? end - start : start - end;
  const int64_t stride = step > 0 ? step : -step;
  if (way.is_constant() && way.value() < 0)
    refuse(node.node, "cannot go from " + text(node, start) + " to " + text(node, end) + " in steps of " + text(step) + ".");
  const DType dtype = dtype_of(node.node.word("dtype"));
  for (const Dim& bound : {start, end})
    if (dtype == DType::i32 && bound.is_constant() && std::abs(bound.value()) > kInt32)
      refuse(node.node, "goes to " + text(node, bound) + ", which int32 does not hold.");
  return one(dtype, {floor_div(way + (stride - 1), stride)});
}

void check_arange(const Inference& node) {
  if (node.integer("step") == 0) refuse(node.node, "goes in steps of 0.");
}

std::vector<Operand> infer_linspace(const Inference& node) { return one(DType::f32, node.dims("steps")); }

std::vector<Operand> infer_size(const Inference&) { return one(DType::i64, {}); }

}  // namespace

OperatorRule constant() {
  return {.summary = "a tensor of the network; one of uint8 without a scale is a value of type byte",
          .inputs = {},
          .tensors = {{"value", kPlain | kU8 | types_of(DType::i8), kAnyRank}},
          .infer = infer_constant};
}

OperatorRule full() {
  return {.summary = "the same number everywhere; uint8: the q",
          .inputs = {},
          .attributes = {expressions("shape", kAnyCount, 0, kInt32), dtype_word({"float32", "int64", "int32", "bool", "uint8"}),
                         number("value")},
          .check = check_full,
          .infer = infer_full,
          .batch_local = local_full};
}

OperatorRule arange() {
  constexpr int64_t kFarthest = int64_t{1} << 53;
  return {.summary = "start, start + step, ... before end, a value of rank 1",
          .inputs = {},
          .attributes = {expressions("start", 1, -kFarthest, kFarthest, Dims{0}), expressions("end", 1, -kFarthest, kFarthest),
                         integers("step", 1, -kInt32, kInt32, Dims{1}), dtype_word({"int64", "int32", "float32"})},
          .check = check_arange,
          .infer = infer_arange};
}

OperatorRule linspace() {
  return {.summary = "as many numbers as steps says from start to end, both included, a value of rank 1",
          .inputs = {},
          .attributes = {number("start"), number("end"), expressions("steps", 1, 0, kInt32)},
          .infer = infer_linspace};
}

OperatorRule size() {
  return {.summary = "an expression of the free sizes as a value of rank 0",
          .inputs = {},
          .attributes = {expressions("value", 1, INT64_MIN, INT64_MAX)},
          .infer = infer_size};
}

}  // namespace niwaki::rules
