#include "graph/check_node.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace niwaki {
namespace {

using Quantizations = std::vector<std::optional<Quantization>>;

std::string text(int64_t value) { return std::to_string(value); }

void check_inputs(const Graph& graph, const OperatorRule& rule, const Node& node) {
  const size_t most = rule.repeats_input ? kMaxInputs : rule.inputs.size();
  const auto least = static_cast<size_t>(
      std::count_if(rule.inputs.begin(), rule.inputs.end(), [](const InputRule& input) { return !input.optional; }));
  const size_t count = node.inputs.size();
  if (count < least || count > most) {
    const std::string wanted = least == most ? std::to_string(least) : std::to_string(least) + " to " + std::to_string(most);
    refuse(node, "takes " + wanted + " inputs, not " + std::to_string(count) + ".");
  }
  for (size_t i = 0; i < count; ++i) {
    const InputRule& input = rule.inputs[std::min(i, rule.inputs.size() - 1)];
    const int index = node.inputs[i];
    if (index == -1 && input.optional) continue;
    if (index < 0 || index >= static_cast<int>(graph.values().size()))
      refuse(node, "its input is value " + text(index) + ", which does not exist.");
    const Value& value = graph.value(index);
    if (!contains(input.types, value.dtype)) {
      const char* help = value.dtype == DType::u8             ? "; dequantize it first."
                         : input.types == types_of(DType::u8) ? "; quantize it first."
                                                              : ".";
      refuse(node, std::string("its input '") + input.name + "' is " + dtype_name(value.dtype) + ", not " + text_of(input.types) +
                       help);
    }
    if (value.rank() < input.min_rank || value.rank() > input.max_rank) {
      const std::string wanted =
          input.min_rank == input.max_rank ? text(input.min_rank) : text(input.min_rank) + " to " + text(input.max_rank);
      refuse(node, std::string("its input '") + input.name + "' must have rank " + wanted + ", not " + text(value.rank()) + ".");
    }
  }
}

// How many values an attribute has, kAnyCount where that is free.
size_t count_of(const Graph& graph, const Node& node, const AttributeRule& rule) {
  if (rule.count >= 0) return static_cast<size_t>(rule.count);
  const auto rank = static_cast<size_t>(graph.value(node.inputs[0]).rank());
  return rule.count == kAxisPairs ? 2 * rank : (rule.count == kSpatialPairs ? 2 : 1) * (rank - 2);
}

template <typename Values>
void check_count(const Graph& graph, const Node& node, const AttributeRule& rule, Values& values) {
  const size_t count = count_of(graph, node, rule);
  if (count > 1 && values.size() == 1) values.resize(count, values[0]);
  if (rule.count == kAnyCount ? values.size() > kMaxAttribute : values.size() != count)
    refuse(node, std::string("attribute '") + rule.name + "' must have " +
                     (rule.count == kAnyCount ? "at most " + text(kMaxAttribute) : std::to_string(count)) + " values, not " +
                     std::to_string(values.size()) + ".");
}

void check_integers(const Graph& graph, const Node& node, const AttributeRule& rule, Dims& dims) {
  check_count(graph, node, rule, dims);
  for (const Dim& dim : dims) {
    if (dim.is_unknown() || dim.largest_size() >= static_cast<int64_t>(graph.sizes().size()))
      refuse(node, std::string("attribute '") + rule.name +
                       "' has an expression that is not made of the network's free sizes, or is too long.");
    if (rule.kind == AttributeKind::integers && !dim.is_constant())
      refuse(node, std::string("attribute '") + rule.name + "' must be a number, not " + dim.text(graph.size_names()) + ".");
    if (dim.is_constant()) check_range(node, rule, dim, false);
  }
}

void check_word(const Node& node, const AttributeRule& rule, const std::string& word) {
  if (std::find(rule.words.begin(), rule.words.end(), word) != rule.words.end()) return;
  std::string allowed;
  for (const char* known : rule.words) allowed += (allowed.empty() ? "" : ", ") + std::string(known);
  refuse(node, std::string("attribute '") + rule.name + "' must be one of " + allowed + ", not '" + word + "'.");
}

// Checks the given attributes against the rule and adds those left out.
void complete_attributes(const Graph& graph, const OperatorRule& rule, Node& node) {
  for (const auto& [name, attribute] : node.attributes)
    if (std::none_of(rule.attributes.begin(), rule.attributes.end(),
                     [&known_as = name](const AttributeRule& known) { return known_as == known.name; }))
      refuse(node, "takes no attribute '" + name + "'.");
  for (const AttributeRule& attribute : rule.attributes) {
    auto found = node.attributes.find(attribute.name);
    if (found == node.attributes.end()) {
      if (!attribute.otherwise) refuse(node, std::string("needs the attribute '") + attribute.name + "'.");
      found = node.attributes.emplace(attribute.name, *attribute.otherwise).first;
    }
    const std::string start = "attribute '" + found->first + "' takes ";
    if (attribute.kind == AttributeKind::word) {
      const auto* word = std::get_if<std::string>(&found->second);
      if (word == nullptr) refuse(node, start + "a word.");
      check_word(node, attribute, *word);
    } else if (attribute.kind == AttributeKind::numbers) {
      auto* numbers = std::get_if<std::vector<double>>(&found->second);
      if (numbers == nullptr) refuse(node, start + "numbers.");
      check_count(graph, node, attribute, *numbers);
    } else {
      auto* dims = std::get_if<Dims>(&found->second);
      if (dims == nullptr) refuse(node, start + "integers.");
      check_integers(graph, node, attribute, *dims);
    }
  }
}

void check_tensors(const OperatorRule& rule, const Node& node) {
  std::vector<TensorRule> rules = rule.tensors;
  if (rule.more_tensors != nullptr) {
    const auto more = rule.more_tensors(node);
    rules.insert(rules.end(), more.begin(), more.end());
  }
  for (const auto& [name, tensor] : node.tensors)
    if (std::none_of(rules.begin(), rules.end(), [&known_as = name](const TensorRule& known) { return known_as == known.name; }))
      refuse(node, "takes no tensor '" + name + "'.");
  for (const TensorRule& wanted : rules) {
    const Tensor* tensor = node.find_tensor(wanted.name.c_str());
    if (tensor == nullptr) {
      if (!wanted.optional) refuse(node, "needs the tensor '" + wanted.name + "'.");
      continue;
    }
    if (!contains(wanted.types, tensor->dtype()))
      refuse(node, wanted.name + " must be " + text_of(wanted.types) + ", not " + dtype_name(tensor->dtype()) + ".");
    const auto rank = static_cast<int>(tensor->shape().size());
    if (wanted.rank == kAnyRank ? rank > kMaxRank : rank != wanted.rank)
      refuse(node, wanted.name + " must have rank " + (wanted.rank == kAnyRank ? "0 to 8" : text(wanted.rank)) + ", not " +
                       text(rank) + ".");
  }
}

void check_scales(const Graph& graph, const OperatorRule& rule, const Node& node, const Quantizations& quantizations) {
  for (const auto& made : quantizations) {
    if (!made) continue;
    if (!(made->scale > 0.0f) || !std::isfinite(made->scale) || !std::isfinite(1.0f / made->scale))
      refuse(node, "the scale of its output must be positive and finite, not " + std::to_string(made->scale) + ".");
    if (made->zero_point < 0 || made->zero_point > 255)
      refuse(node, "the zero point of its output must lie in 0 to 255, not " + text(made->zero_point) + ".");
    float product = 1.0f;
    for (const int value : node.inputs) {
      if (value < 0 || !graph.value(value).quantization) continue;
      const Quantization& in = *graph.value(value).quantization;
      product *= in.scale;
      if (rule.keeps_scale && in != *made)
        refuse(node, "keeps scale and zero point, so its inputs and its output must have the same ones.");
      if (node.op != Op::mul && !(in.scale / made->scale <= kMaxFactor))
        refuse(node, "the scales of its input and output do not fit together: their ratio is above 1e25.");
    }
    if (node.op == Op::mul && !(product / made->scale <= kMaxFactor))
      refuse(node, "the scales of its inputs and output do not fit together: their ratio is above 1e25.");
  }
}

void check_output(const Node& node, const Operand& made, bool quantized) {
  if (made.dtype == DType::u8 && !quantized) refuse(node, "its output is uint8 and needs a scale and a zero point.");
  if (made.dtype != DType::u8 && quantized)
    refuse(node, std::string("its output is ") + dtype_name(made.dtype) + " and takes no scale.");
  if (made.dtype == DType::u8 && made.rank() == 0) refuse(node, "makes a uint8 value without axes; those have at least one.");
  if (made.rank() > kMaxRank) refuse(node, "makes a value of rank " + text(made.rank()) + "; 8 is the highest.");
}

}  // namespace

void check_range(const Node& node, const AttributeRule& rule, const Dim& dim, bool computed) {
  const int64_t low = computed && rule.low == -1 ? 0 : rule.low;
  if (dim.value() >= low && dim.value() <= rule.high) return;
  refuse(node, std::string("attribute '") + rule.name + "' must lie in " + text(low) + " to " + text(rule.high) + ", not " +
                   text(dim.value()) + ".");
}

std::vector<Operand> check_node(const Graph& graph, Node& node, const Quantizations& quantizations) {
  const OperatorRule& rule = operator_rule(node.op);
  check_inputs(graph, rule, node);
  complete_attributes(graph, rule, node);
  check_tensors(rule, node);
  check_scales(graph, rule, node, quantizations);
  std::vector<std::optional<Operand>> in;
  Quantizations in_quantizations;
  for (const int index : node.inputs) {
    in.emplace_back();
    in_quantizations.emplace_back();
    if (index < 0) continue;
    in.back() = Operand{graph.value(index).dtype, graph.value(index).dims};
    in_quantizations.back() = graph.value(index).quantization;
  }
  const std::vector<std::string> names = graph.size_names();
  const Inference inference{node, node.attributes, in, in_quantizations, quantizations, names};
  try {
    if (rule.check != nullptr) rule.check(inference);
    std::vector<Operand> made = rule.infer(inference);
    if (quantizations.size() > made.size())
      refuse(node, "has " + std::to_string(made.size()) + " outputs and is given more scales.");
    for (size_t i = 0; i < made.size(); ++i) check_output(node, made[i], inference.is_quantized(i));
    return made;
  } catch (const DimError& error) {
    refuse(node, error.what() + std::string("."));
  }
}

}  // namespace niwaki
