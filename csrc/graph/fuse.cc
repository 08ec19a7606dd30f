#include "graph/fuse.h"

#include <algorithm>
#include <utility>

#include "graph/operators.h"
#include "graph/phases.h"

namespace niwaki {

class Fuser {
 public:
  explicit Fuser(Graph graph)
      : graph_(std::move(graph)),
        fused_(graph_.nodes().size()),
        gone_(graph_.nodes().size(), false),
        bounded_(graph_.nodes().size(), false) {
    count_uses();
  }

  FusedGraph run() {
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (graph_.nodes_[i].op == Op::clamp) fuse_clamp(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (graph_.nodes_[i].op == Op::add && !gone_[i]) fuse_add(i);
    drop_unused();
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (graph_.nodes_[i].op == Op::conv2d && !gone_[i]) split_phases(i);
    return collect();
  }

 private:
  Node& node(size_t index) { return graph_.nodes_[index]; }
  int maker(int value) const { return graph_.values_[static_cast<size_t>(value)].node; }
  int& uses(int value) { return uses_[static_cast<size_t>(value)]; }

  void count_uses() {
    uses_.assign(graph_.values_.size(), 0);
    for (const Node& node : graph_.nodes_)
      for (int value : node.inputs) ++uses(value);
    for (const Port& port : graph_.outputs_) ++uses(port.value);
  }

  // Everyone who read `from` reads `to`.
  void redirect(int from, int to) {
    for (Node& reader : graph_.nodes_)
      for (int& value : reader.inputs)
        if (value == from) value = to;
    uses(to) += uses(from);
    uses(from) = 0;
  }

  // `maker` takes over `index`, makes its value in its place and remembers its name.
  void absorb(size_t maker, size_t index) {
    uses(node(maker).output) = 0;
    node(maker).output = node(index).output;
    graph_.values_[static_cast<size_t>(node(index).output)].node = static_cast<int>(maker);
    auto& names = fused_[maker];
    names.push_back(node(index).name);
    names.insert(names.end(), fused_[index].begin(), fused_[index].end());
    gone_[index] = true;
  }

  void fuse_clamp(size_t index) {
    const Node& clamp = node(index);
    const int64_t low = clamp.integer("low"), high = clamp.integer("high");
    const int input = clamp.inputs[0], from = maker(input);
    if (low == 0 && high == 255) {
      redirect(clamp.output, input);
      --uses(input);
      gone_[index] = true;
      if (from >= 0) bounded_[static_cast<size_t>(from)] = true;
      if (from >= 0) fused_[static_cast<size_t>(from)].push_back(clamp.name);
      return;
    }
    if (from < 0 || uses(input) != 1) return;
    Node& before = node(static_cast<size_t>(from));
    if (before.attributes.contains("low")) {
      // Right for ranges that do not meet, too: all of the first then falls on one end of the second.
      before.attributes["low"] = {std::clamp(before.integer("low"), low, high)};
      before.attributes["high"] = {std::clamp(before.integer("high"), low, high)};
    } else if (before.op == Op::table) {
      Tensor& table = before.tensors["table"];
      uint8_t clamped[256];
      for (int i = 0; i < 256; ++i) clamped[i] = static_cast<uint8_t>(std::clamp<int64_t>(table.data()[i], low, high));
      table = Tensor::copy_of(DType::u8, {256}, clamped);
    } else {
      return;
    }
    absorb(static_cast<size_t>(from), index);
  }

  void fuse_add(size_t index) {
    const Node& add = node(index);
    const int a = maker(add.inputs[0]), b = maker(add.inputs[1]);
    const int later = a > b ? 0 : 1;
    const int from = std::max(a, b);
    if (a == b || uses(add.inputs[static_cast<size_t>(later)]) != 1) return;
    if (bounded_[static_cast<size_t>(from)]) return;  // a sum inside the layer would not be cut off where its result was
    Node& layer = node(static_cast<size_t>(from));
    if (layer.op != Op::linear && (layer.op != Op::conv2d || is_depthwise(layer))) return;
    if (layer.inputs.size() > 1 || layer.integer("low") != 0 || layer.integer("high") != 255) return;
    if (!factors_fit(layer, add)) return;
    layer.inputs.push_back(add.inputs[static_cast<size_t>(1 - later)]);
    layer.attributes["low"] = add.attributes.at("low");
    layer.attributes["high"] = add.attributes.at("high");
    absorb(static_cast<size_t>(from), index);
  }

  // True where the layer's multipliers stay finite when it writes in the scale of the sum.
  bool factors_fit(const Node& layer, const Node& add) const {
    const Tensor& scales = layer.tensor("weight_scale");
    const float in = graph_.value(layer.inputs[0]).quantization->scale, out = graph_.value(add.output).quantization->scale;
    return std::all_of(scales.as<float>(), scales.as<float>() + scales.elements(),
                       [&](float scale) { return (in * scale) / out <= kMaxFactor; });
  }

  void split_phases(size_t index) {
    const int input = node(index).inputs[0], from = maker(input);
    if (from < 0 || node(static_cast<size_t>(from)).op != Op::quantize || uses(input) != 1 || is_depthwise(node(index))) return;
    Value& value = graph_.values_[static_cast<size_t>(input)];
    if (split_into_phases(node(static_cast<size_t>(from)), node(index), value.channels)) value.channels *= 4;
  }

  void drop_unused() {
    for (size_t i = graph_.nodes_.size(); i-- > 0;) {
      if (gone_[i] || uses(node(i).output) > 0) continue;
      gone_[i] = true;
      for (int value : node(i).inputs) --uses(value);
    }
  }

  FusedGraph collect() {
    FusedGraph result;
    std::vector<Node> left;
    for (size_t i = 0; i < graph_.nodes_.size(); ++i) {
      if (gone_[i]) continue;
      graph_.values_[static_cast<size_t>(node(i).output)].node = static_cast<int>(left.size());
      left.push_back(std::move(node(i)));
      result.fused.push_back(std::move(fused_[i]));
    }
    graph_.nodes_ = std::move(left);
    result.graph = std::move(graph_);
    return result;
  }

  Graph graph_;
  std::vector<std::vector<std::string>> fused_;
  std::vector<bool> gone_;
  std::vector<bool> bounded_;  // a ReLU after it is the lower end of its range (zero point 0)
  std::vector<int> uses_;
};

FusedGraph fuse(Graph graph) { return Fuser(std::move(graph)).run(); }

}  // namespace niwaki
