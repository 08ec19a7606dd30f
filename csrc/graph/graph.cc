#include "graph/graph.h"

#include <cmath>
#include <limits>
#include <utility>

#include "base/status.h"
#include "graph/operators.h"

namespace niwaki {
namespace {

std::string text(int64_t value) { return std::to_string(value); }

// Checks the given attributes against the rule and adds those left out.
void complete_attributes(const OperatorRule& rule, Node& node) {
  for (const auto& [name, integers] : node.attributes) {
    bool known = false;
    for (const AttributeRule& attribute : rule.attributes) known = known || name == attribute.name;
    if (!known) refuse(node, "takes no attribute '" + name + "'.");
  }
  for (const AttributeRule& attribute : rule.attributes) {
    auto found = node.attributes.find(attribute.name);
    if (found == node.attributes.end()) {
      if (attribute.otherwise.empty()) refuse(node, std::string("needs the attribute '") + attribute.name + "'.");
      node.attributes[attribute.name] = attribute.otherwise;
      continue;
    }
    auto& integers = found->second;
    if (attribute.count > 1 && integers.size() == 1) integers.assign(static_cast<size_t>(attribute.count), integers[0]);
    const bool fits = attribute.count == 0 ? !integers.empty() && integers.size() <= 8
                                           : integers.size() == static_cast<size_t>(attribute.count);
    if (!fits)
      refuse(node, "attribute '" + found->first + "' must have " + (attribute.count == 0 ? "1 to 8" : text(attribute.count)) +
                       " integers, not " + text(static_cast<int64_t>(integers.size())) + ".");
    for (int64_t value : integers)
      if (value < attribute.low || value > attribute.high)
        refuse(node, "attribute '" + found->first + "' must lie in " + text(attribute.low) + " to " + text(attribute.high) +
                         ", not " + text(value) + ".");
  }
}

void check_tensors(const OperatorRule& rule, const Node& node) {
  for (const auto& [name, tensor] : node.tensors) {
    bool known = false;
    for (const TensorRule& wanted : rule.tensors) known = known || name == wanted.name;
    if (!known) refuse(node, "takes no tensor '" + name + "'.");
  }
  for (const TensorRule& wanted : rule.tensors) {
    const auto found = node.tensors.find(wanted.name);
    if (found == node.tensors.end()) refuse(node, std::string("needs the tensor '") + wanted.name + "'.");
    const Tensor& tensor = found->second;
    if (tensor.dtype() != wanted.dtype)
      refuse(node, found->first + " must be " + dtype_name(wanted.dtype) + ", not " + dtype_name(tensor.dtype()) + ".");
    if (tensor.shape().size() != static_cast<size_t>(wanted.rank))
      refuse(node, found->first + " must have rank " + text(wanted.rank) + ", not " +
                       text(static_cast<int64_t>(tensor.shape().size())) + ".");
  }
}

void check_values(const Graph& graph, const OperatorRule& rule, const Node& node,
                  const std::optional<Quantization>& quantization) {
  const int count = static_cast<int>(node.inputs.size());
  if (count < rule.min_inputs || count > rule.max_inputs) {
    const std::string wanted =
        rule.min_inputs == rule.max_inputs ? text(rule.min_inputs) : text(rule.min_inputs) + " to " + text(rule.max_inputs);
    refuse(node, "takes " + wanted + " inputs, not " + text(count) + ".");
  }
  for (int value : node.inputs) {
    if (value < 0 || value >= static_cast<int>(graph.values().size()))
      refuse(node, "its input is value " + text(value) + ", which does not exist.");
    const Value& in = graph.value(value);
    if (rule.takes_float && (in.quantization || in.node >= 0)) refuse(node, "its input must be a float32 input of the graph.");
    if (!rule.takes_float && !in.quantization) refuse(node, "its input is float32; quantize it first.");
    if (rule.keeps_scale && quantization && *in.quantization != *quantization)
      refuse(node, "keeps scale and zero point, so its inputs and its output must have the same ones.");
  }
  if (quantization) {
    if (rule.makes == Makes::f32) refuse(node, "its output is float32 and takes no scale.");
    if (!(quantization->scale > 0.0f) || !std::isfinite(quantization->scale) || !std::isfinite(1.0f / quantization->scale))
      refuse(node, "the scale of its output must be positive and finite, not " + std::to_string(quantization->scale) + ".");
    if (quantization->zero_point < 0 || quantization->zero_point > 255)
      refuse(node, "the zero point of its output must lie in 0 to 255, not " + text(quantization->zero_point) + ".");
  } else if (rule.makes == Makes::u8) {
    refuse(node, "its output is uint8 and needs a scale and a zero point.");
  }
}

void check_ratios(const Graph& graph, const Node& node, const std::optional<Quantization>& quantization) {
  if (!quantization) return;
  float product = 1.0f;
  for (int value : node.inputs) {
    const auto& in = graph.value(value).quantization;
    if (!in) return;
    product *= in->scale;
    if (node.op != Op::mul && !(in->scale / quantization->scale <= kMaxFactor))
      refuse(node, "the scales of its input and output do not fit together: their ratio is above 1e25.");
  }
  if (node.op == Op::mul && !(product / quantization->scale <= kMaxFactor))
    refuse(node, "the scales of its inputs and output do not fit together: their ratio is above 1e25.");
}

}  // namespace

int Graph::add_input(const std::string& name, int64_t channels, int rank, int64_t expected_height, int64_t expected_width) {
  if (rank != 4 && rank != 2)
    throw Error(Status::invalid_argument, "Input '" + name + "': rank must be 4 or 2, not " + text(rank) + ".");
  if (channels < 1 || channels > std::numeric_limits<int32_t>::max())
    throw Error(Status::invalid_argument,
                "Input '" + name + "': channels must be at least 1 and below 2^31, not " + text(channels) + ".");
  const int64_t largest = std::numeric_limits<int32_t>::max();
  if (expected_height < 0 || expected_width < 0 || expected_height > largest || expected_width > largest)
    throw Error(Status::invalid_argument, "Input '" + name + "': the expected size must be from 0 (unknown) to 2^31 - 1, not " +
                                              text(expected_height) + " x " + text(expected_width) + ".");
  values_.push_back({std::nullopt, rank, channels, -1});
  inputs_.push_back({name, static_cast<int>(values_.size()) - 1, expected_height, expected_width});
  return inputs_.back().value;
}

int Graph::add_node(Op op, const std::string& name, std::vector<int> inputs, Attributes attributes, Tensors tensors,
                    std::optional<Quantization> quantization) {
  const OperatorRule& rule = operator_rule(op);
  Node node{op, name, std::move(inputs), static_cast<int>(values_.size()), std::move(attributes), std::move(tensors)};
  complete_attributes(rule, node);
  check_tensors(rule, node);
  check_values(*this, rule, node, quantization);
  check_ratios(*this, node, quantization);
  values_.push_back({quantization, 4, -1, static_cast<int>(nodes_.size())});
  try {
    const Known known = rule.check(*this, node);
    if (known.channels > std::numeric_limits<int32_t>::max()) refuse(node, "makes too many channels.");
    values_.back().rank = known.rank;
    values_.back().channels = known.channels;
    nodes_.push_back(std::move(node));
  } catch (...) {
    values_.pop_back();
    throw;
  }
  return static_cast<int>(values_.size()) - 1;
}

int Graph::add_node(const std::string& op, const std::string& name, std::vector<int> inputs, Attributes attributes,
                    Tensors tensors, std::optional<Quantization> quantization) {
  const OperatorRule* rule = find_operator(op);
  if (rule == nullptr) throw Error(Status::invalid_argument, name + ": there is no operator '" + op + "'.");
  return add_node(rule->op, name, std::move(inputs), std::move(attributes), std::move(tensors), quantization);
}

void Graph::forget_data(size_t node) {
  for (auto& [name, tensor] : nodes_.at(node).tensors)
    tensor = Tensor(tensor.dtype(), tensor.shape(), std::shared_ptr<const uint8_t>());
}

void Graph::add_output(int value, const std::string& name) {
  if (value < 0 || value >= static_cast<int>(values_.size()))
    throw Error(Status::invalid_argument, "Output '" + name + "': there is no value " + text(value) + ".");
  const Value& made = values_[static_cast<size_t>(value)];
  if (made.quantization) throw Error(Status::invalid_argument, "Output '" + name + "': the value is uint8; dequantize it first.");
  if (made.node < 0) throw Error(Status::invalid_argument, "Output '" + name + "': the value is an input of the graph.");
  outputs_.push_back({name, value});
}

}  // namespace niwaki
