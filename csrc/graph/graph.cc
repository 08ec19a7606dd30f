#include "graph/graph.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/status.h"
#include "graph/check_node.h"
#include "graph/operators.h"

namespace niwaki {
namespace {

constexpr int64_t kMaxDim = std::numeric_limits<int32_t>::max();

std::string text(int64_t value) { return std::to_string(value); }

[[noreturn]] void fail(const std::string& message) { throw Error(Status::invalid_argument, message); }

bool is_known(const Graph& graph, const Dim& dim) {
  return !dim.is_unknown() && dim.largest_size() < static_cast<int64_t>(graph.sizes().size());
}

// The lambda names what has the dtype: "Input 'x'".
void check_plain(const std::string& what, DType dtype, size_t rank) {
  if (dtype == DType::u8)
    fail(what + " is uint8, which only values inside of a network are; take byte, or float32, int64, int32, int8 or bool.");
  if (rank > static_cast<size_t>(kMaxRank)) fail(what + " has rank " + text(static_cast<int64_t>(rank)) + "; 8 is the highest.");
}

}  // namespace

std::vector<int64_t> Node::integers(const char* attribute) const {
  std::vector<int64_t> values;
  for (const Dim& dim : dims(attribute)) values.push_back(dim.value());
  return values;
}

const Tensor* Node::find_tensor(const char* tensor) const {
  const auto found = tensors.find(tensor);
  return found == tensors.end() ? nullptr : &found->second;
}

Dim Graph::add_size(const std::string& name, int64_t low, int64_t high, int64_t hint) {
  if (name.empty()) fail("A free size needs a name.");
  for (const FreeSize& size : sizes_)
    if (size.name == name) fail("There are two free sizes '" + name + "'.");
  if (low < 0 || high < low) fail("The free size '" + name + "' cannot lie in " + text(low) + " to " + text(high) + ".");
  if (hint < 0 || hint > kMaxDim)
    fail("The expected value of the free size '" + name + "' must be from 0 (unknown) to 2^31 - 1, not " + text(hint) + ".");
  sizes_.push_back({name, low, high, hint});
  return Dim::size(static_cast<int64_t>(sizes_.size()) - 1);
}

int Graph::add_input(const std::string& name, DType dtype, Dims dims) {
  const std::string what = "Input '" + name + "'";
  check_plain(what, dtype, dims.size());
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!is_known(*this, dims[i]))
      fail(what + ": dim " + text(static_cast<int64_t>(i)) + " is neither a number nor made of free sizes.");
    if (dims[i].is_constant() && (dims[i].value() < 0 || dims[i].value() > kMaxDim))
      fail(what + ": dim " + text(static_cast<int64_t>(i)) + " must lie in 0 to 2^31 - 1, not " + text(dims[i].value()) + ".");
  }
  values_.push_back({dtype, std::nullopt, std::move(dims), -1, static_cast<int>(inputs_.size())});
  inputs_.push_back({name, static_cast<int>(values_.size()) - 1});
  return inputs_.back().value;
}

int Graph::add_state(const std::string& name, Tensor initial) {
  const std::string what = "State '" + name + "'";
  if (name.empty()) fail("A state needs a name.");
  for (const State& state : states_)
    if (state.name == name) fail("There are two states '" + name + "'.");
  const DType dtype = initial.dtype() == DType::u8 ? DType::byte : initial.dtype();
  check_plain(what, dtype, initial.shape().size());
  for (const int64_t size : initial.shape())
    if (size < 0 || size > kMaxDim) fail(what + " has a dim of " + text(size) + "; they must lie in 0 to 2^31 - 1.");
  Dims dims(initial.shape().begin(), initial.shape().end());
  values_.push_back({dtype, std::nullopt, std::move(dims), -1, -1 - static_cast<int>(states_.size())});
  states_.push_back({name, static_cast<int>(values_.size()) - 1, -1, std::move(initial)});
  return states_.back().value;
}

void Graph::set_state(int state_value, int next) {
  const auto found = std::find_if(states_.begin(), states_.end(), [&](const State& state) { return state.value == state_value; });
  if (found == states_.end()) fail("Value " + text(state_value) + " is no state.");
  const std::string what = "State '" + found->name + "'";
  if (next < 0 || next >= static_cast<int>(values_.size())) fail(what + ": there is no value " + text(next) + ".");
  const Value &now = value(state_value), &then = value(next);
  const auto names = size_names();
  const auto shown = [&](const Value& value) {
    std::string shape;
    for (const Dim& dim : value.dims) shape += (shape.empty() ? "" : ", ") + dim.text(names);
    return std::string(dtype_name(value.dtype)) + " [" + shape + "]";
  };
  const auto fits = [](const Dim& a, const Dim& b) { return !a.is_constant() || !b.is_constant() || a.value() == b.value(); };
  if (now.dtype != then.dtype || !std::equal(now.dims.begin(), now.dims.end(), then.dims.begin(), then.dims.end(), fits))
    fail(what + " is " + shown(now) + " and would become " + shown(then) + "; it must stay as it is.");
  found->next = next;
}

void Graph::add_guard(Guard guard) {
  if (guard.message.empty()) fail("A guard needs a sentence for those whom it refuses.");
  if (guard.cases.empty()) fail("The guard '" + guard.message + "' has no cases.");
  for (const auto& comparisons : guard.cases)
    for (const Guard::Comparison& comparison : comparisons)
      if (!is_known(*this, comparison.left) || !is_known(*this, comparison.right))
        fail("The guard '" + guard.message + "' compares what is neither a number nor made of free sizes.");
  guards_.push_back(std::move(guard));
}

int Graph::add_node(Op op, const std::string& name, std::vector<int> inputs, Attributes attributes, Tensors tensors,
                    std::vector<std::optional<Quantization>> quantizations) {
  while (!inputs.empty() && inputs.back() == -1) inputs.pop_back();
  Node node{op, name, std::move(inputs), {}, std::move(attributes), std::move(tensors)};
  std::vector<Operand> made = check_node(*this, node, quantizations);
  quantizations.resize(made.size());
  const int first = static_cast<int>(values_.size());
  for (size_t i = 0; i < made.size(); ++i) {
    node.outputs.push_back(first + static_cast<int>(i));
    values_.push_back(
        {made[i].dtype, quantizations[i], std::move(made[i].dims), static_cast<int>(nodes_.size()), static_cast<int>(i)});
  }
  nodes_.push_back(std::move(node));
  return first;
}

int Graph::add_node(const std::string& op, const std::string& name, std::vector<int> inputs, Attributes attributes,
                    Tensors tensors, std::vector<std::optional<Quantization>> quantizations) {
  const OperatorRule* rule = find_operator(op);
  if (rule == nullptr) fail(name + ": there is no operator '" + op + "'.");
  return add_node(rule->op, name, std::move(inputs), std::move(attributes), std::move(tensors), std::move(quantizations));
}

void Graph::forget_data(size_t node) {
  for (auto& [name, tensor] : nodes_.at(node).tensors)
    tensor = Tensor(tensor.dtype(), tensor.shape(), std::shared_ptr<const uint8_t>());
}

void Graph::add_output(int value, const std::string& name) {
  const std::string what = "Output '" + name + "'";
  if (value < 0 || value >= static_cast<int>(values_.size())) fail(what + ": there is no value " + text(value) + ".");
  if (values_[static_cast<size_t>(value)].dtype == DType::u8) fail(what + ": the value is uint8; dequantize it first.");
  outputs_.push_back({name, value});
}

std::vector<std::string> Graph::size_names() const {
  std::vector<std::string> names;
  for (const FreeSize& size : sizes_) names.push_back(size.name);
  return names;
}

bool has_bytes(const Graph& graph) {
  return std::any_of(graph.values().begin(), graph.values().end(),
                     [](const Value& value) { return value.dtype == DType::byte || value.dtype == DType::i8; });
}

}  // namespace niwaki
