#include "graph/operators/rules.h"

#include <algorithm>
#include <array>

namespace niwaki::rules {

AttributeRule integers(const char* name, int count, int64_t low, int64_t high, std::optional<Dims> otherwise) {
  AttributeRule rule{name, AttributeKind::integers, count, low, high};
  if (otherwise) rule.otherwise = std::move(*otherwise);
  return rule;
}

AttributeRule expressions(const char* name, int count, int64_t low, int64_t high, std::optional<Dims> otherwise) {
  AttributeRule rule = integers(name, count, low, high, std::move(otherwise));
  rule.kind = AttributeKind::expressions;
  return rule;
}

AttributeRule flag(const char* name, bool otherwise) { return integers(name, 1, 0, 1, Dims{otherwise ? 1 : 0}); }

AttributeRule axis(const char* name) { return integers(name, 1, 0, kMaxRank - 1); }

AttributeRule number(const char* name, std::optional<double> otherwise) {
  AttributeRule rule{name, AttributeKind::numbers, 1};
  if (otherwise) rule.otherwise = std::vector<double>{*otherwise};
  return rule;
}

AttributeRule word(const char* name, std::vector<const char*> words, const char* otherwise) {
  AttributeRule rule{name, AttributeKind::word, 1};
  if (otherwise != nullptr) rule.otherwise = std::string(otherwise);
  rule.words = std::move(words);
  return rule;
}

AttributeRule dtype_word(std::vector<const char*> words) { return word("dtype", std::move(words)); }

std::vector<AttributeRule> with_bounds(std::vector<AttributeRule> attributes) {
  attributes.push_back(integers("low", 1, 0, 255, Dims{0}));
  attributes.push_back(integers("high", 1, 0, 255, Dims{255}));
  return attributes;
}

void check_bounds(const Node& node) {
  const int64_t low = node.integer("low"), high = node.integer("high");
  if (low > high) refuse(node, "low (" + text(low) + ") is above high (" + text(high) + ").");
}

std::string text(int64_t value) { return std::to_string(value); }

std::string text(const Inference& node, const Dim& dim) { return dim.text(node.size_names); }

std::string text(const Inference& node, const Dims& dims) {
  std::string out = "[";
  for (size_t i = 0; i < dims.size(); ++i) out += (i > 0 ? ", " : "") + text(node, dims[i]);
  return out + "]";
}

bool differ(const Dim& a, const Dim& b) { return a.is_constant() && b.is_constant() && a.value() != b.value(); }

Dim known(const Dim& a, const Dim& b) { return a.is_unknown() || b.is_constant() ? b : a; }

bool is_zero(const Dim& dim) { return dim.is_constant() && dim.value() == 0; }

Dim count_of(std::span<const Dim> dims) {
  Dim count = 1;
  for (const Dim& dim : dims) count = count * dim;
  return count;
}

Dims broadcast(const Inference& node, const Dims& a, const Dims& b) {
  Dims out(std::max(a.size(), b.size()));
  for (size_t i = 0; i < out.size(); ++i) {  // from the last axis on
    const Dim x = i < a.size() ? a[a.size() - 1 - i] : Dim(1), y = i < b.size() ? b[b.size() - 1 - i] : Dim(1);
    Dim& made = out[out.size() - 1 - i];
    if (x == Dim(1)) made = y;
    else if (y == Dim(1) || x == y) made = x;
    else if (differ(x, y))
      refuse(node.node, "its inputs are " + text(node, a) + " and " + text(node, b) + ", which do not broadcast.");
    else if (x.is_constant() || y.is_constant()) made = x.is_constant() ? x : y;  // the other one is this or 1
    else made = Dim::unknown();
  }
  return out;
}

void expect_channels(const Inference& node, const Dim& dim, int64_t expected, const char* what) {
  if (differ(dim, expected))
    refuse(node.node, std::string(what) + " has " + text(node, dim) + " channels; " + text(expected) + " are expected.");
}

void expect_pixels(const Inference& node) {
  const Dims& in = node.input(0).dims;
  for (size_t i = 2; i < in.size(); ++i)
    if (is_zero(in[i])) refuse(node.node, "its input " + text(node, in) + " is empty.");
}

void expect_same(const Inference& node, const Dims& a, const Dims& b) {
  if (a.size() != b.size() ||
      !std::equal(a.begin(), a.end(), b.begin(), [](const Dim& x, const Dim& y) { return !differ(x, y); }))
    refuse(node.node, "its inputs are " + text(node, a) + " and " + text(node, b) + "; they must be the same.");
}

size_t axis_of(const Inference& node, const char* attribute, size_t input) {
  const int64_t axis = node.integer(attribute);
  const int rank = node.input(input).rank();
  if (axis < 0 || axis >= rank)
    refuse(node.node, std::string(attribute) + " " + text(axis) + " is beyond the rank of its input (" + text(rank) + ").");
  return static_cast<size_t>(axis);
}

std::vector<size_t> axes_of(const Inference& node, const char* attribute) {
  std::vector<size_t> axes;
  std::array<bool, kMaxRank> seen{};
  const int rank = node.input(0).rank();
  for (const Dim& dim : node.dims(attribute)) {
    const int64_t axis = dim.value();
    if (axis < 0 || axis >= rank)
      refuse(node.node, std::string(attribute) + " has " + text(axis) + ", beyond the rank of its input (" + text(rank) + ").");
    if (std::exchange(seen[static_cast<size_t>(axis)], true))
      refuse(node.node, std::string(attribute) + " has " + text(axis) + " twice.");
    axes.push_back(static_cast<size_t>(axis));
  }
  return axes;
}

void expect_same_types(const Inference& node, size_t a, size_t b) {
  if (node.input(a).dtype != node.input(b).dtype)
    refuse(node.node, std::string("its inputs are ") + dtype_name(node.input(a).dtype) + " and " +
                          dtype_name(node.input(b).dtype) + "; cast them to one type.");
}

DType dtype_of(const std::string& word) {
  for (const DType dtype : kDTypes)
    if (word == dtype_name(dtype)) return dtype;
  throw Error(Status::internal, "There is no type '" + word + "'.");
}

std::vector<Operand> same_as_input(const Inference& node) { return {node.input(0)}; }

std::vector<Operand> one(DType dtype, Dims dims) {
  std::vector<Operand> out;
  out.push_back({dtype, std::move(dims)});
  return out;
}

bool always(const BatchInference& node) {
  for (size_t i = 0; i < node.node.in.size(); ++i)
    if (node.node.given(i) && !node.batched[i]) return false;
  return true;
}

bool if_not_first_axis(const BatchInference& node) { return always(node) && node.node.integer("axis") != 0; }

bool shares(const BatchInference& node, size_t input, int rank) {
  return !node.batched[input] && (node.input(input).rank() < rank || node.input(input).dims[0] == Dim(1));
}

bool elementwise(const BatchInference& node) {
  const int rank = node.out[0].rank();
  for (size_t i = 0; i < node.node.in.size(); ++i)
    if (node.batched[i] ? node.input(i).rank() != rank : !shares(node, i, rank)) return false;
  return true;
}

}  // namespace niwaki::rules
