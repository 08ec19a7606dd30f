#include "runtime/model.h"

#include <utility>

#include "base/status.h"
#include "graph/fuse.h"

namespace niwaki {

Model::Model(const Graph& graph, Isa isa, ConvKind kind) : isa_(isa) {
  if (graph.outputs().empty()) throw Error(Status::invalid_argument, "The network has no output; mark one with add_output.");
  FusedGraph fused = fuse(graph);
  graph_ = std::move(fused.graph);
  for (size_t i = 0; i < graph_.nodes().size(); ++i) {
    steps_.push_back(make_step(graph_, graph_.nodes()[i], isa, kind));
    steps_.back()->info.fused = std::move(fused.fused[i]);
  }
  graph_.forget_data();
}

}  // namespace niwaki
