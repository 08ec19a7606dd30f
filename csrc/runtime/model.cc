#include "runtime/model.h"

#include <utility>

#include "base/memory.h"
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

Model::Model(Graph graph, Isa isa, ConvKind kind, ThreadPool* pool) : isa_(isa) {
  if (graph.outputs().empty()) throw Error(Status::invalid_argument, "The network has no output; mark one with add_output.");
  FusedGraph fused = fuse(std::exchange(graph, Graph()));
  graph_ = std::move(fused.graph);
  const std::vector<int64_t> pixels = expected_pixels(graph_);
  steps_.resize(graph_.nodes().size());
  const Allocator allocator = current_allocator();  // a copy: the original belongs to this thread
  const auto pack = [&](int64_t index, int) {
    const AllocatorScope scope(allocator);
    const auto i = static_cast<size_t>(index);
    const Node& node = graph_.nodes()[i];
    steps_[i] = make_step(graph_, node, isa, kind, pixels[static_cast<size_t>(node.output)]);
    steps_[i]->info.fused = std::move(fused.fused[i]);
    graph_.forget_data(i);
  };
  const auto count = static_cast<int64_t>(steps_.size());
  if (pool != nullptr) {
    pool->run(count, pack);
  } else {
    for (int64_t i = 0; i < count; ++i) pack(i, 0);
  }
}

void Model::take_step(size_t index, Model& from, std::string reason) {
  steps_.at(index) = std::move(from.steps_.at(index));
  steps_[index]->info.reason = std::move(reason);
}

}  // namespace niwaki
