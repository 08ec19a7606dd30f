#include "graph/repeats.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <string>

namespace niwaki {
namespace {

// Whether both are one operator of this kind with the same attributes, and tensors of the same names that `alike` holds for.
template <typename Alike>
bool same_layer(const Node& a, const Node& b, const Alike& alike) {
  return may_repeat(a.op) && a.op == b.op && a.attributes == b.attributes &&
         std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(), b.tensors.end(),
                    [&](const auto& x, const auto& y) { return x.first == y.first && alike(x.second, y.second); });
}

}  // namespace

bool repeats(const Node& node, const Node& earlier) {
  return same_layer(node, earlier, [](const Tensor& a, const Tensor& b) { return a.is_same(b); });
}

bool may_share_weight(const Node& node) {
  constexpr int64_t kFewChannels = 8;
  if (node.op == Op::linear) return true;
  return node.op == Op::conv2d && node.tensor("weight").shape()[1] >= kFewChannels;
}

bool shares_weight(const Node& node, const Node& earlier) {
  return node.op == earlier.op && may_share_weight(node) && node.tensor("weight").is_same(earlier.tensor("weight"));
}

std::vector<size_t> first_weights(const Graph& graph) {
  const std::vector<Node>& nodes = graph.nodes();
  std::vector<size_t> first(nodes.size());
  std::map<const void*, size_t> known;  // by where the weight lies
  for (size_t i = 0; i < nodes.size(); ++i) {
    first[i] = i;
    if (!may_share_weight(nodes[i])) continue;
    const size_t found = known.emplace(nodes[i].tensor("weight").address(), i).first->second;
    if (shares_weight(nodes[i], nodes[found])) first[i] = found;
  }
  return first;
}

std::vector<size_t> first_calls(const Graph& graph) {
  const std::vector<Node>& nodes = graph.nodes();
  std::vector<size_t> first(nodes.size());
  std::map<const void*, size_t> known;  // first calls, by where their first tensor lies: no other layer has it
  for (size_t i = 0; i < nodes.size(); ++i) {
    first[i] = i;
    if (!may_repeat(nodes[i].op) || nodes[i].tensors.empty()) continue;
    const size_t found = known.emplace(nodes[i].tensors.begin()->second.address(), i).first->second;
    if (repeats(nodes[i], nodes[found])) first[i] = found;
  }
  return first;
}

bool equal(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || a.shape() != b.shape()) return false;
  if (a.elements() == 0 || a.is_same(b)) return true;
  const Tensor left = a.unpacked(), right = b.unpacked();
  return std::memcmp(left.data(), right.data(), static_cast<size_t>(left.bytes())) == 0;
}

bool has_repeats(const Graph& graph) {
  const std::vector<size_t> calls = first_calls(graph), weights = first_weights(graph);
  for (size_t i = 0; i < calls.size(); ++i)
    if (calls[i] != i || weights[i] != i) return true;
  return false;
}

void share_repeated(Graph& graph) {
  const std::vector<Node>& nodes = graph.nodes();
  if (nodes.empty()) return;
  const size_t last = nodes.size() - 1;
  if (may_share_weight(nodes[last])) {
    const Tensor weight = nodes[last].tensor("weight");
    const auto alike = [&](const Node& node) { return node.op == nodes[last].op && equal(node.tensor("weight"), weight); };
    const auto found = std::find_if(nodes.begin(), nodes.end() - 1, alike);
    if (found != nodes.end() - 1) graph.share_tensor(last, "weight", found->tensor("weight"));
  }
  if (!may_repeat(nodes[last].op)) return;
  for (size_t i = 0; i < last; ++i) {
    if (!same_layer(nodes[last], nodes[i], equal)) continue;
    for (const auto& [name, tensor] : nodes[i].tensors) graph.share_tensor(last, name, tensor);
    return;
  }
}

}  // namespace niwaki
