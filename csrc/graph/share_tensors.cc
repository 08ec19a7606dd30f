// Apart from the rest of entries.h: who only reads files has no use for it.
#include "graph/entries.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "graph/repeats.h"

namespace niwaki {
namespace {

// A tensor that later graphs may share, of which node it is, and the graph that was the last to have it.
struct Known {
  std::string node, name;
  Tensor tensor;
  size_t graph;
};

using Knowns = std::unordered_multimap<size_t, Known>;  // by hash_of

size_t hash_of(const Tensor& tensor) {
  const Tensor whole = tensor.unpacked();
  const auto bytes = static_cast<size_t>(whole.bytes());
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(whole.data()), bytes}) ^ bytes;
}

// Finds for the tensors of a graph those of the graphs before it that are equal.
class Sharing {
 public:
  Sharing(Graph& graph, size_t number, Knowns& known)
      : graph_(graph), number_(number), known_(known), first_(first_calls(graph)), weight_(first_weights(graph)) {
    for (size_t i = 0; i < graph.nodes().size(); ++i)
      if (first_[i] == i)
        for (const auto& [name, tensor] : graph.nodes()[i].tensors)
          if (tensor.elements() > 0 && (weight_[i] == i || name != "weight"))
            left_.push_back({i, hash_of(tensor), {graph.nodes()[i].name, name, tensor, number}});
  }

  // Each tensor of another graph is taken once, where `fits` allows it.
  template <typename Fits>
  void share(const Fits& fits) {
    std::erase_if(left_, [&](const Left& left) {
      const auto [begin, end] = known_.equal_range(left.hash);
      const auto found = std::find_if(begin, end, [&](const auto& one) {
        return one.second.graph != number_ && fits(one.second, left.own) && equal(one.second.tensor, left.own.tensor);
      });
      if (found == end) return false;
      found->second.graph = number_;
      graph_.share_tensor(left.node, left.own.name, found->second.tensor);
      return true;
    });
  }

  // Further calls of a layer have what its first one has by now.
  void share_repeated() {
    for (size_t i = 0; i < first_.size(); ++i) {
      if (weight_[i] != i) graph_.share_tensor(i, "weight", graph_.nodes()[weight_[i]].tensor("weight"));
      if (first_[i] != i)
        for (const auto& [name, tensor] : graph_.nodes()[first_[i]].tensors) graph_.share_tensor(i, name, tensor);
    }
  }

  // Those that nobody had before are there for the graphs that follow.
  void add_others() {
    for (Left& left : left_) known_.emplace(left.hash, std::move(left.own));
  }

 private:
  struct Left {
    size_t node, hash;
    Known own;
  };

  Graph& graph_;
  size_t number_;
  Knowns& known_;
  std::vector<size_t> first_, weight_;  // for each node, the ones whose layer it calls and whose weight it has
  std::vector<Left> left_;
};

}  // namespace

void share_tensors(std::span<Graph* const> graphs) {
  Knowns known;
  for (size_t g = 0; g < graphs.size(); ++g) {
    Sharing sharing(*graphs[g], g, known);
    // Layers may have equal scales, say. Those that have the same name find each other first, so that they are alike in all.
    sharing.share([](const Known& one, const Known& other) { return one.node == other.node && one.name == other.name; });
    sharing.share([](const Known&, const Known&) { return true; });
    sharing.share_repeated();
    sharing.add_others();
  }
}

}  // namespace niwaki
