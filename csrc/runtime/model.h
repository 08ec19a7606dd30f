// A network made ready for one instruction set: fused, kernels chosen, weights packed. Immutable; sessions on any thread share
// it.
#pragma once

#include <memory>
#include <vector>

#include "base/arch.h"
#include "graph/graph.h"
#include "runtime/step.h"

namespace niwaki {

class Model {
 public:
  // kind forces the kernels of convolutions, for tests and benches. Throws Error for a graph without outputs.
  Model(const Graph& graph, Isa isa, ConvKind kind = ConvKind::automatic);

  Isa isa() const { return isa_; }
  const Graph& graph() const { return graph_; }                               // fused; its tensors have no data any more
  const std::vector<std::unique_ptr<Step>>& steps() const { return steps_; }  // one for each of the graph's nodes

 private:
  Isa isa_;
  Graph graph_;
  std::vector<std::unique_ptr<Step>> steps_;
};

}  // namespace niwaki
