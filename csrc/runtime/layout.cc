#include "runtime/layout.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <string>
#include <utility>

#include "base/status.h"

namespace niwaki {
namespace {

// What an operator does with the layout of its uint8 values.
enum class Demand {
  image,      // grouped over axis 1
  tokens,     // grouped over the last axis
  alike,      // grouped over any axis, all inputs and the output over the same
  grouped,    // an input or an output grouped over any axis: the ends
  any,        // each as it likes: reshape and permute
  row_major,  // ungrouped
};

bool scales_channels(const Graph& graph, const Node& mul) {
  const Dims& factor = graph.value(mul.inputs[1]).dims;
  return factor.size() == 4 && factor[2] == Dim(1) && factor[3] == Dim(1);
}

Demand demand_of(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Op::conv2d:
    case Op::max_pool2d:
    case Op::avg_pool2d:
    case Op::adaptive_avg_pool2d:
    case Op::channel_shuffle:
    case Op::pixel_shuffle:
    case Op::upsample_nearest2d:
    case Op::resize:
    case Op::prelu: return Demand::image;
    case Op::linear: return Demand::tokens;
    case Op::mul: return scales_channels(graph, node) ? Demand::image : Demand::alike;
    case Op::add:
    case Op::extreme:
    case Op::clamp:
    case Op::table:
    case Op::concat:
    case Op::slice:
    case Op::pad: return Demand::alike;
    case Op::quantize: return node.has("phases") ? Demand::image : Demand::grouped;
    case Op::dequantize: return Demand::grouped;
    case Op::reshape:
    case Op::permute: return Demand::any;
    default: return Demand::row_major;
  }
}

constexpr int kUnknown = -2;

int usual_axis(int rank) { return rank == 4 ? 1 : std::max(0, rank - 1); }

Dim product(const Dims& dims, int begin, int end) {
  Dim result = 1;
  for (int i = begin; i < end; ++i) result = result * dims[static_cast<size_t>(i)];
  return result;
}

// Whether channels are joined to, or split into, other ones by whole groups of four.
bool keeps_groups(const Dim& a, const Dim& b) {
  if (!a.is_constant() || !b.is_constant()) return false;
  const int64_t less = std::min(a.value(), b.value()), more = std::max(a.value(), b.value());
  return less > 0 && less % 4 == 0 && more % less == 0;
}

// The axis of `to` over which the elements of `from` lie as they do over `axis` of it, after a reshape, or at least by whole groups: then
// lanes are copied, not bytes. kUnknown where there is none.
int same_place(const Dims& from, int axis, const Dims& to) {
  const int from_rank = static_cast<int>(from.size()), to_rank = static_cast<int>(to.size());
  try {
    for (int b = 0; b < to_rank; ++b)
      if (from[static_cast<size_t>(axis)] == to[static_cast<size_t>(b)] && product(from, 0, axis) == product(to, 0, b) &&
          product(from, axis + 1, from_rank) == product(to, b + 1, to_rank))
        return b;
    for (int b = 0; b < to_rank; ++b)
      if (keeps_groups(from[static_cast<size_t>(axis)], to[static_cast<size_t>(b)]) &&
          product(from, axis + 1, from_rank) == product(to, b + 1, to_rank))
        return b;
  } catch (const Error&) {
    // Sizes beyond int64 are refused when they are known.
  }
  return kUnknown;
}

}  // namespace

class LayoutPass {
 public:
  explicit LayoutPass(FusedGraph fused) : fused_(std::move(fused)), graph_(fused_.graph), parents_(graph_.values().size()) {
    std::iota(parents_.begin(), parents_.end(), 0);
  }

  LaidOut run() {
    join();
    choose();
    convert();
    return {std::move(fused_), std::move(axes_)};
  }

 private:
  bool is_u8(int value) const { return value >= 0 && graph_.value(value).quantization.has_value(); }
  int rank(int value) const { return graph_.value(value).rank(); }

  // Values of one set have one axis: those that operators of Demand::alike read and make.
  int root(int value) const {
    while (parents_[static_cast<size_t>(value)] != value) value = parents_[static_cast<size_t>(value)];
    return value;
  }

  void join() {
    for (const Node& node : graph_.nodes()) {
      if (demand_of(graph_, node) != Demand::alike) continue;
      for (int input : node.inputs)
        if (is_u8(input) && rank(input) == rank(node.outputs[0]))
          parents_[static_cast<size_t>(root(input))] = root(node.outputs[0]);
    }
  }

  // The axis that the operator has to have for `value`, or kUnknown.
  int fixed(const Node& node, int value) const {
    switch (demand_of(graph_, node)) {
      case Demand::image: return 1;
      case Demand::tokens: return rank(value) - 1;
      case Demand::row_major: return kRowMajor;
      default: return kUnknown;
    }
  }

  int& axis_of(int value) { return axes_[static_cast<size_t>(value)]; }
  int& set_axis(int value) { return sets_[static_cast<size_t>(root(value))]; }

  void choose() {
    sets_.assign(graph_.values().size(), kUnknown);
    vote();
    follow();
    for (const Node& node : graph_.nodes()) {  // in the order in which they run: one choice may decide others
      for (int value : node.outputs) {
        if (!is_u8(value) || set_axis(value) != kUnknown) continue;
        set_axis(value) = usual_axis(rank(value));
        follow();
      }
    }
    axes_.assign(graph_.values().size(), kRowMajor);
    for (const Node& node : graph_.nodes()) {
      for (int value : node.outputs) {
        if (!is_u8(value)) continue;
        const int wanted = fixed(node, value);
        axis_of(value) = wanted != kUnknown ? wanted : set_axis(value);
      }
    }
  }

  // Most of those that have to have an axis decide; the earliest where they are as many.
  void vote() {
    std::map<int, std::vector<std::pair<int, int>>> votes;  // of each set: (axis, how many)
    const auto count = [&](const Node& node, int value) {
      const int axis = is_u8(value) ? fixed(node, value) : kUnknown;
      if (axis < 0) return;
      auto& found = votes[root(value)];
      const auto same = std::find_if(found.begin(), found.end(), [&](const auto& vote) { return vote.first == axis; });
      if (same != found.end()) ++same->second;
      else found.emplace_back(axis, 1);
    };
    for (const Node& node : graph_.nodes()) {
      for (int value : node.inputs) count(node, value);
      for (int value : node.outputs) count(node, value);
    }
    for (const auto& [set, found] : votes)
      sets_[static_cast<size_t>(set)] =
          std::max_element(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.second < b.second; })->first;
  }

  // Through reshapes and permutations, in both directions, to values that have no axis yet.
  void follow() {
    for (bool changed = true; changed;) {
      changed = false;
      for (const Node& node : graph_.nodes()) {
        if (demand_of(graph_, node) != Demand::any || !is_u8(node.inputs[0])) continue;
        const int in = node.inputs[0], out = node.outputs[0];
        int &before = set_axis(in), &after = set_axis(out);
        if ((before >= 0) == (after >= 0)) continue;
        int& unknown = before >= 0 ? after : before;
        if (node.op == Op::permute) {
          const std::vector<int64_t> axes = node.integers("axes");
          if (before >= 0) unknown = static_cast<int>(std::find(axes.begin(), axes.end(), before) - axes.begin());
          else unknown = static_cast<int>(axes[static_cast<size_t>(after)]);
        } else {
          const Dims &from = graph_.value(in).dims, &to = graph_.value(out).dims;
          unknown = before >= 0 ? same_place(from, before, to) : same_place(to, after, from);
        }
        changed = changed || unknown != kUnknown;
      }
    }
  }

  // The axis over which the operator reads `value`.
  int wanted(const Node& node, int value) {
    const Demand demand = demand_of(graph_, node);
    if (demand == Demand::alike) return axis_of(node.outputs[0]);
    if (demand == Demand::any) return axis_of(value);
    if (demand == Demand::grouped) return axis_of(value) >= 0 ? axis_of(value) : usual_axis(rank(value));
    return fixed(node, value);
  }

  void convert() {
    std::vector<Node> nodes;
    std::vector<std::vector<std::string>> names;
    std::map<std::pair<int, int>, int> made;  // (value, axis): the value that holds it so
    for (size_t i = 0; i < graph_.nodes_.size(); ++i) {
      Node node = std::move(graph_.nodes_[i]);
      for (int& input : node.inputs) {
        if (!is_u8(input)) continue;
        const int axis = wanted(node, input);
        if (axis == axis_of(input)) continue;
        const auto [entry, is_new] = made.try_emplace({input, axis}, -1);
        if (is_new) {
          nodes.push_back(copy_over(input, axis, node.name));
          names.emplace_back();
          entry->second = nodes.back().outputs[0];
        }
        input = entry->second;
      }
      nodes.push_back(std::move(node));
      names.push_back(std::move(fused_.fused[i]));
    }
    for (size_t i = 0; i < nodes.size(); ++i)
      for (int value : nodes[i].outputs) graph_.values_[static_cast<size_t>(value)].node = static_cast<int>(i);
    graph_.nodes_ = std::move(nodes);
    fused_.fused = std::move(names);
  }

  // A permutation that keeps the order of the axes, whose result is grouped over `axis`.
  Node copy_over(int value, int axis, const std::string& name) {
    Dims order;
    for (int i = 0; i < rank(value); ++i) order.emplace_back(i);
    Node copy;
    copy.op = Op::permute;
    copy.name = name;
    copy.inputs = {value};
    copy.outputs = {static_cast<int>(graph_.values_.size())};
    copy.attributes["axes"] = std::move(order);
    graph_.values_.push_back(graph_.value(value));
    axes_.push_back(axis);
    return copy;
  }

  FusedGraph fused_;
  Graph& graph_;
  std::vector<int> parents_;  // of each value, towards the root of its set
  std::vector<int> sets_;     // of each set, by its root: the axis
  std::vector<int> axes_;     // of each value
};

LaidOut lay_out(FusedGraph fused) { return LayoutPass(std::move(fused)).run(); }

Planes planes_of(const Sizes& shape, int axis) {
  if (axis == kRowMajor) return {};
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const auto at = static_cast<size_t>(axis);
  int64_t images = 1, height = 1, width = 1;
  bool fits = true;
  const auto multiply = [&](int64_t& product, int64_t size) {
    fits = fits && (size == 0 || product <= kMost / size);
    product = fits ? product * size : 0;
  };
  for (size_t i = 0; i < at && i < shape.size(); ++i) multiply(images, shape[i]);
  for (size_t i = at + 1; i + 1 < shape.size(); ++i) multiply(height, shape[i]);
  if (at + 1 < shape.size()) width = shape.back();
  int64_t pixels = images;
  multiply(pixels, height);
  multiply(pixels, width);
  const int64_t channels = shape.empty() ? 1 : shape[at];
  if (!fits || channels > kMost)
    throw Error(Status::invalid_argument, "a channel may have 2^31 - 1 pixels over all images. Use smaller batches.");
  return {nullptr,
          group_stride_of(pixels),
          static_cast<int32_t>(images),
          static_cast<int32_t>(channels),
          static_cast<int32_t>(height),
          static_cast<int32_t>(width)};
}

}  // namespace niwaki
