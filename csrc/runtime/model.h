// A network made ready for one instruction set: fused, laid out, kernels chosen, weights packed. Immutable once it is shared; sessions
// on any thread share it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "graph/graph.h"
#include "runtime/shared_weights.h"
#include "runtime/step.h"

namespace niwaki {

class Model {
 public:
  // kind forces the kernels of convolutions, for tests and benches. Throws Error for a graph without outputs.
  // pool: packs several layers at a time. The graph's tensors are let go of one by one, so a caller who moves the graph here has
  // no layer in memory twice for longer than it takes to pack it.
  // shared: where layers and constants that other models have, too, are found and left; null where nothing is shared.
  Model(Graph graph, Isa isa, ConvKind kind = ConvKind::automatic, ThreadPool* pool = nullptr, SharedWeights* shared = nullptr);

  Isa isa() const { return isa_; }
  const Graph& graph() const { return graph_; }           // fused, laid out; its tensors have no data any more
  const std::vector<int>& axes() const { return axes_; }  // of each value: see LaidOut
  const std::vector<std::shared_ptr<Step>>& steps() const { return steps_; }  // one for each of the graph's nodes

  // The data of a value that a constant makes, 64-byte aligned; null for others.
  const uint8_t* constant(int value) const {
    const auto& constant = constants_[static_cast<size_t>(value)];
    return constant ? constant->data : nullptr;
  }

  // Takes step `index` of another model of the same graph, which must not be used any more and shares nothing, and says why.
  void take_step(size_t index, Model& from, std::string reason);

 private:
  Isa isa_;
  Graph graph_;
  std::vector<int> axes_;
  std::vector<std::shared_ptr<Step>> steps_;
  std::vector<std::shared_ptr<const Constant>> constants_;  // of each value; null for others
};

}  // namespace niwaki
