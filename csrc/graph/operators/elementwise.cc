// Element by element: uint8 values with their scales, and plain ones, which broadcast as in numpy.
#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>

#include "graph/operators/rules.h"

namespace niwaki::rules {
namespace {

bool is_one_of(const std::string& word, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

void check_u8(const Inference& node) { check_bounds(node.node); }

std::vector<Operand> infer_add(const Inference& node) {
  expect_same(node, node.input(0).dims, node.input(1).dims);
  Dims out = node.input(0).dims;
  for (size_t i = 0; i < out.size(); ++i) out[i] = known(out[i], node.input(1).dims[i]);
  return one(DType::u8, std::move(out));
}

// The second factor may be one number for each channel of each image: [N, C, 1, 1].
std::vector<Operand> infer_mul(const Inference& node) {
  const Dims &a = node.input(0).dims, &b = node.input(1).dims;
  if (a.size() != 4 || b.size() != 4) return infer_add(node);
  const bool channels = b[2] == Dim(1) && b[3] == Dim(1), open = !b[2].is_constant() || !b[3].is_constant();
  if (!channels && !open) return infer_add(node);
  if (differ(a[0], b[0]) || differ(a[1], b[1])) expect_same(node, a, b);
  return one(DType::u8, {known(a[0], b[0]), known(a[1], b[1]), a[2], a[3]});
}

// Factors between scales, the slopes included, stay finite.
void check_prelu(const Inference& node) {
  check_bounds(node.node);
  const Tensor& slope = node.node.tensor("slope");
  const float factor = node.is_quantized(0) ? node.in_quantizations[0]->scale / node.quantizations[0]->scale : 1.0f;
  for (int64_t i = 0; i < slope.elements(); ++i)
    if (const float each = slope.as<float>()[i]; !(std::fabs(each * factor) <= kMaxFactor) || !std::isfinite(each))
      refuse(node.node, "its slope " + text(i) + " is no number that its scales can hold.");
}

std::vector<Operand> infer_prelu(const Inference& node) {
  Dims out = node.input(0).dims;
  const int64_t channels = node.node.tensor("slope").shape()[0];
  expect_channels(node, out[1], channels, "its input");
  out[1] = known(out[1], channels);
  return one(DType::u8, std::move(out));
}

void check_table(const Inference& node) {
  if (node.node.tensor("table").elements() != 256)
    refuse(node.node, "its table must have 256 elements, not " + text(node.node.tensor("table").elements()) + ".");
}

void expect_type(const Inference& node, TypeSet types) {
  const DType dtype = node.input(0).dtype;
  if (!contains(types, dtype))
    refuse(node.node, node.node.word("function") + " takes " + text_of(types) + ", not " + dtype_name(dtype) + ".");
}

std::vector<Operand> infer_unary(const Inference& node) {
  const std::string& function = node.node.word("function");
  if (function == "logical_not") expect_type(node, kBool);
  else if (is_one_of(function, {"abs", "neg", "sign", "square", "relu", "clamp"})) expect_type(node, kNumbers);
  else expect_type(node, kFloat);
  const bool asks = is_one_of(function, {"isnan", "isinf", "isfinite"});
  return one(asks ? DType::boolean : node.input(0).dtype, node.input(0).dims);
}

void check_unary(const Inference& node) {
  const bool bounds = node.node.word("function") == "clamp";
  for (const char* name : {"alpha", "beta"}) {
    const double value = node.node.number(name);
    if (std::isnan(value) || (std::isinf(value) && !bounds))
      refuse(node.node, std::string(name) + " must be a finite number, not " + std::to_string(value) + ".");
    if (node.input(0).dtype != DType::f32 && std::isfinite(value) && value != std::floor(value))
      refuse(node.node, std::string(name) + " must be an integer for " + dtype_name(node.input(0).dtype) + ", not " +
                            std::to_string(value) + ".");
  }
}

std::vector<Operand> infer_binary(const Inference& node) {
  const std::string& function = node.node.word("function");
  const bool equal = is_one_of(function, {"eq", "ne"}), compares = equal || is_one_of(function, {"lt", "le", "gt", "ge"});
  expect_same_types(node, 0, 1);
  if (is_one_of(function, {"logical_and", "logical_or", "logical_xor"})) expect_type(node, kBool);
  else if (equal || is_one_of(function, {"maximum", "minimum"})) expect_type(node, kPlain);
  else if (is_one_of(function, {"div", "atan2", "prelu"})) expect_type(node, kFloat);
  else expect_type(node, kNumbers);
  return one(compares ? DType::boolean : node.input(0).dtype, broadcast(node, node.input(0).dims, node.input(1).dims));
}

std::vector<Operand> infer_where(const Inference& node) {
  expect_same_types(node, 1, 2);
  const Dims values = broadcast(node, node.input(1).dims, node.input(2).dims);
  return one(node.input(1).dtype, broadcast(node, node.input(0).dims, values));
}

std::vector<Operand> infer_cast(const Inference& node) { return one(dtype_of(node.node.word("dtype")), node.input(0).dims); }

std::vector<Operand> infer_channel_affine(const Inference& node) {
  const size_t axis = axis_of(node);
  Dims out = node.input(0).dims;
  for (const char* name : {"gain", "shift"}) {
    const int64_t channels = node.node.tensor(name).shape()[0];
    expect_channels(node, out[axis], channels, "its input");
    out[axis] = known(out[axis], channels);
  }
  return one(DType::f32, std::move(out));
}

bool local_affine(const BatchInference& node) { return if_not_first_axis(node); }

}  // namespace

OperatorRule add() {
  return {.summary = "sum of two values of the same shape, in the scale of the output",
          .inputs = {{"a", kU8}, {"b", kU8}},
          .attributes = with_bounds(),
          .check = check_u8,
          .infer = infer_add,
          .batch_local = always};
}

OperatorRule extreme() {
  return {.summary = "the larger or smaller of two values of the same shape, in the scale of the output",
          .inputs = {{"a", kU8}, {"b", kU8}},
          .attributes = with_bounds({word("function", {"maximum", "minimum"})}),
          .check = check_u8,
          .infer = infer_add,
          .batch_local = always};
}

OperatorRule prelu() {
  return {.summary = "x where x > 0, else slope * x, with a slope for each element of axis 1, in the scale of the output",
          .inputs = {{"data", kU8, 2}},
          .attributes = with_bounds(),
          .tensors = {{"slope", kFloat, 1}},
          .check = check_prelu,
          .infer = infer_prelu,
          .batch_local = always};
}

OperatorRule mul() {
  return {.summary = "product of two values of the same shape, or of [N, C, H, W] and [N, C, 1, 1], in the scale of the output",
          .inputs = {{"a", kU8}, {"b", kU8}},
          .attributes = with_bounds(),
          .check = check_u8,
          .infer = infer_mul,
          .batch_local = always};
}

OperatorRule clamp() {
  return {.summary = "q within low to high",
          .inputs = {{"data", kU8}},
          .keeps_scale = true,
          .attributes = with_bounds(),
          .check = check_u8,
          .infer = same_as_input,
          .batch_local = always};
}

OperatorRule table() {
  return {.summary = "table[q]: any function of one value",
          .inputs = {{"data", kU8}},
          .tensors = {{"table", kU8, 1}},
          .check = check_table,
          .infer = same_as_input,
          .batch_local = always};
}

OperatorRule unary() {
  return {.summary =
              "a function of each element. alpha and beta: slope, threshold, bounds, as torch has them; -inf and inf are bounds, "
              "too. abs, neg, sign, square, relu and clamp take integers as well, logical_not takes bool, isnan, isinf and "
              "isfinite make it",
          .inputs = {{"data", kPlain}},
          .attributes = {word("function",
                              {"abs",       "neg",       "sign",     "exp",         "expm1",       "log",        "log1p",
                               "log2",      "log10",     "sqrt",     "rsqrt",       "reciprocal",  "square",     "erf",
                               "sin",       "cos",       "tan",      "atan",        "asin",        "acos",       "sinh",
                               "cosh",      "tanh",      "sigmoid",  "log_sigmoid", "hardsigmoid", "hardswish",  "silu",
                               "gelu",      "gelu_tanh", "mish",     "relu",        "relu6",       "leaky_relu", "elu",
                               "celu",      "selu",      "softplus", "softsign",    "hardshrink",  "softshrink", "tanhshrink",
                               "threshold", "clamp",     "floor",    "ceil",        "round",       "trunc",      "frac",
                               "isnan",     "isinf",     "isfinite", "logical_not"}),
                         number("alpha", 0.0), number("beta", 0.0)},
          .check = check_unary,
          .infer = infer_unary,
          .batch_local = always};
}

OperatorRule binary() {
  return {.summary =
              "a function of two elements of the same dtype. div, atan2 and prelu (x where x > 0, else slope * x) take float32, "
              "eq, ne, maximum and minimum bool as well, logical ones bool alone. Comparisons make bool",
          .inputs = {{"a", kPlain}, {"b", kPlain}},
          .attributes = {word("function",
                              {"add", "sub",     "mul",         "div",        "floor_div",   "trunc_div", "remainder", "fmod",
                               "pow", "maximum", "minimum",     "atan2",      "eq",          "ne",        "lt",        "le",
                               "gt",  "ge",      "logical_and", "logical_or", "logical_xor", "prelu"})},
          .infer = infer_binary,
          .batch_local = elementwise};
}

OperatorRule where() {
  return {.summary = "a where the condition holds, else b",
          .inputs = {{"condition", kBool}, {"a", kMovable}, {"b", kMovable}},
          .infer = infer_where,
          .batch_local = elementwise};
}

OperatorRule cast() {
  return {.summary =
              "another dtype: float32 to integers truncates, anything to bool is != 0, integers that byte or int8 do not hold "
              "keep their last eight bits",
          .inputs = {{"data", kMovable}},
          .attributes = {dtype_word({"float32", "int64", "int32", "bool", "byte", "int8"})},
          .infer = infer_cast,
          .batch_local = always};
}

OperatorRule channel_affine() {
  return {.summary = "x * gain + shift, a gain and a shift for each element of an axis",
          .inputs = {{"data", kFloat, 1}},
          .attributes = {axis()},
          .tensors = {{"gain", kFloat, 1}, {"shift", kFloat, 1}},
          .infer = infer_channel_affine,
          .batch_local = local_affine};
}

}  // namespace niwaki::rules
