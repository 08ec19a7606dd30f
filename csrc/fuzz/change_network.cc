#include "fuzz/change_network.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "file/file.h"
#include "file/graph_writer.h"
#include "graph/operators.h"

namespace niwaki::fuzz {
namespace {

using testing::Random;

constexpr int kTries = 8;

size_t below(Random& random, size_t limit) { return random.next() % limit; }

// Taps of a window along each of its axes; empty for a node without one.
std::vector<int64_t> taps(const Node& node) {
  if (node.has("kernel")) return node.integers("kernel");
  const Tensor* weight = node.has("dilation") ? node.find_tensor("weight") : nullptr;
  if (weight == nullptr) return {};
  return {weight->shape().begin() + 2, weight->shape().end()};
}

// As much padding as the window reaches to each side, so that it fits into any image: hardly one is as large as a dilation that was drawn.
void pad_window(const Node& node, Attributes& attributes) {
  const std::vector<int64_t> kernel = taps(node);
  const auto found = attributes.find("padding");
  if (kernel.empty() || found == attributes.end() || !node.has("dilation")) return;
  const Dims& dilation = std::get<Dims>(attributes.at("dilation"));
  Dims& padding = std::get<Dims>(found->second);
  const auto rules = operator_rule(node.op).attributes;
  const bool pairs =
      std::any_of(rules.begin(), rules.end(), [](const AttributeRule& rule) { return rule.count == kSpatialPairs; });
  for (size_t i = 0; i < padding.size(); ++i) {
    const size_t axis = pairs ? i / 2 : i % kernel.size();
    padding[i] = Dim(dilation[axis].value() * (kernel[axis] - 1) / 2);
  }
}

void draw_integers(Dims& dims, const AttributeRule& rule, Random& random) {
  for (Dim& dim : dims)
    if (dim.is_constant() && below(random, 3) > 0) dim = Dim(draw_between(rule.low, rule.high, random));
}

// One attribute that is integers, all of them or some; of a window often its dilation. Expressions stay: what they are made of is drawn when
// the network runs.
Attributes draw_attribute(const Node& node, Random& random) {
  Attributes attributes = node.attributes;
  const bool reach = below(random, 2) == 0;  // far, with the padding for it
  std::vector<const AttributeRule*> choices;
  for (const AttributeRule& rule : operator_rule(node.op).attributes) {
    if (!attributes.contains(rule.name) || !std::holds_alternative<Dims>(attributes.at(rule.name))) continue;
    if (reach && std::string_view(rule.name) == "dilation") draw_integers(std::get<Dims>(attributes.at(rule.name)), rule, random);
    choices.push_back(&rule);
  }
  if (reach) pad_window(node, attributes);
  if ((reach && node.has("dilation")) || choices.empty()) return attributes;
  const AttributeRule& rule = *choices[below(random, choices.size())];
  draw_integers(std::get<Dims>(attributes.at(rule.name)), rule, random);
  return attributes;
}

FreeSize draw_range(FreeSize size, Random& random) {
  const int64_t a = draw_between(0, INT64_MAX, random), b = draw_between(0, INT64_MAX, random);
  switch (below(random, 3)) {
    case 0: size.low = std::min(a, b), size.high = std::max(a, b); break;
    case 1: size.high = std::max(size.low, a); break;
    default: size.hint = a;
  }
  return size;
}

// The graph with another attribute for node `changed`, or another range for free size `changed - nodes`. Throws Error where it does not fit.
Graph rebuild(const Graph& graph, size_t changed, Random& random) {
  Graph made;
  made.metadata = graph.metadata;
  const size_t nodes = graph.nodes().size();
  for (size_t i = 0; i < graph.sizes().size(); ++i) {
    const FreeSize size = nodes + i == changed ? draw_range(graph.sizes()[i], random) : graph.sizes()[i];
    made.add_size(size.name, size.low, size.high, size.hint);
  }
  for (const Port& port : graph.inputs()) made.add_input(port.name, graph.value(port.value).dtype, graph.value(port.value).dims);
  for (const State& state : graph.states()) made.add_state(state.name, state.initial);
  for (const Guard& guard : graph.guards()) made.add_guard(guard);
  for (size_t i = 0; i < nodes; ++i) {
    const Node& node = graph.nodes()[i];
    std::vector<std::optional<Quantization>> quantizations;
    for (const int output : node.outputs) quantizations.push_back(graph.value(output).quantization);
    made.add_node(node.op, node.name, node.inputs, i == changed ? draw_attribute(node, random) : node.attributes, node.tensors,
                  std::move(quantizations));
  }
  for (const State& state : graph.states())
    if (state.next >= 0) made.set_state(state.value, state.next);
  for (const Port& port : graph.outputs()) made.add_output(port.value, port.name);
  return made;
}

}  // namespace

int64_t draw_between(int64_t low, int64_t high, Random& random) {
  const auto range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
  const auto near = std::min<uint64_t>(below(random, 4), range);
  switch (below(random, 4)) {
    case 0: return static_cast<int64_t>(static_cast<uint64_t>(low) + near);
    case 1: return static_cast<int64_t>(static_cast<uint64_t>(high) - near);
    default: {
      const uint64_t bits = (uint64_t{1} << below(random, 63)) + below(random, 3) - 1;
      return static_cast<int64_t>(static_cast<uint64_t>(low) + (range == UINT64_MAX ? bits : bits % (range + 1)));
    }
  }
}

std::optional<Bytes> change_network(const FileParts& parts, Random& random) {
  try {
    const std::vector<Entry> entries = read_entries(put_together(parts));
    const size_t chosen = entries.size() > 1 ? below(random, entries.size()) : 0;
    const Graph& graph = entries[chosen].graph;
    for (int i = 0; i < kTries; ++i) {
      try {
        const size_t choices = graph.nodes().size() + graph.sizes().size();
        if (choices == 0) return std::nullopt;
        std::vector<Tensor> tensors;
        FileParts changed = parts;
        std::vector<Entry> rebuilt = entries;
        rebuilt[chosen].graph = rebuild(graph, below(random, choices), random);
        GraphSection section = write_graphs(rebuilt, tensors);
        changed.version = section.version, changed.graph = std::move(section.bytes);
        return put_together(changed);
      } catch (const Error&) {  // tried again
      }
    }
  } catch (const Error&) {  // no network
  }
  return std::nullopt;
}

}  // namespace niwaki::fuzz
