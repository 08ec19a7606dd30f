#include "runtime/model.h"

#include <utility>

#include "base/status.h"
#include "graph/fuse.h"
#include "graph/shapes.h"

namespace niwaki {

namespace {

// Of one image of each value, at the sizes that the inputs expect; 0 where they do not say or the network cannot take them.
std::vector<int64_t> expected_pixels(const Graph& graph) {
  std::vector<int64_t> pixels(graph.values().size(), 0);
  std::vector<std::vector<int64_t>> sizes;
  for (const Port& port : graph.inputs()) {
    const Value& value = graph.value(port.value);
    if (value.rank == 2) {
      sizes.push_back({1, value.channels});
      continue;
    }
    if (port.expected_height == 0 || port.expected_width == 0) return pixels;
    sizes.push_back({1, value.channels, port.expected_height, port.expected_width});
  }
  try {
    const std::vector<Shape> shapes = infer_shapes(graph, sizes);
    for (size_t i = 0; i < shapes.size(); ++i) pixels[i] = shapes[i].pixels();
  } catch (const Error&) {
    // A hint that does not fit is no hint.
  }
  return pixels;
}

}  // namespace

Model::Model(const Graph& graph, Isa isa, ConvKind kind) : isa_(isa) {
  if (graph.outputs().empty()) throw Error(Status::invalid_argument, "The network has no output; mark one with add_output.");
  FusedGraph fused = fuse(graph);
  graph_ = std::move(fused.graph);
  const std::vector<int64_t> pixels = expected_pixels(graph_);
  for (size_t i = 0; i < graph_.nodes().size(); ++i) {
    const Node& node = graph_.nodes()[i];
    steps_.push_back(make_step(graph_, node, isa, kind, pixels[static_cast<size_t>(node.output)]));
    steps_.back()->info.fused = std::move(fused.fused[i]);
  }
  graph_.forget_data();
}

void Model::take_step(size_t index, Model& from, std::string reason) {
  steps_.at(index) = std::move(from.steps_.at(index));
  steps_[index]->info.reason = std::move(reason);
}

}  // namespace niwaki
