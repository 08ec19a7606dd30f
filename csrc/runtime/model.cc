#include "runtime/model.h"

#include <algorithm>
#include <utility>

#include "base/status.h"
#include "graph/fuse.h"
#include "graph/repeats.h"
#include "graph/shapes.h"
#include "runtime/layout.h"
#include "runtime/repeated.h"

namespace niwaki {
namespace {

// The sizes that are expected: one image, and what the free sizes' hints say. Empty where one says nothing.
Sizes expected_sizes(const Graph& graph) {
  Sizes sizes;
  for (const FreeSize& size : graph.sizes()) sizes.push_back(size.hint);
  for (const Port& port : graph.inputs()) {
    const Dims& dims = graph.value(port.value).dims;
    if (dims.empty() || dims[0].kind() != Dim::Kind::size) continue;
    const auto batch = static_cast<size_t>(dims[0].value());
    sizes[batch] = std::clamp<int64_t>(1, graph.sizes()[batch].low, graph.sizes()[batch].high);
  }
  if (std::find(sizes.begin(), sizes.end(), 0) != sizes.end()) return {};
  return sizes;
}

// Pixels of one image (for a linear layer: rows) of each value as it is grouped, or would be; 0 where unknown.
std::vector<int64_t> expected_pixels(const Graph& graph) {
  std::vector<int64_t> pixels(graph.values().size(), 0);
  std::vector<Sizes> inputs;
  std::vector<Sizes> shapes;
  try {
    const Sizes sizes = expected_sizes(graph);
    if (sizes.size() == graph.sizes().size()) {
      for (const Port& port : graph.inputs()) {
        inputs.emplace_back();
        for (const Dim& dim : graph.value(port.value).dims) inputs.back().push_back(dim.evaluate(sizes));
      }
      shapes = infer_shapes(graph, inputs).shapes;
    }
  } catch (const Error&) {
    // A hint that does not fit is no hint.
  }
  for (const Node& node : graph.nodes()) {
    if (node.op != Op::conv2d && node.op != Op::linear) continue;
    const auto value = static_cast<size_t>(node.outputs[0]);
    const Dims& dims = graph.value(node.outputs[0]).dims;
    if (!shapes.empty()) {
      const Sizes& shape = shapes[value];
      const int axis = node.op == Op::conv2d ? 1 : static_cast<int>(shape.size()) - 1;
      const Planes planes = planes_of(shape, axis);
      pixels[value] = node.op == Op::conv2d ? int64_t{planes.height} * planes.width : planes.pixels();
    } else if (node.op == Op::linear && (dims.size() < 2 || (dims.size() == 2 && dims[0].kind() == Dim::Kind::size))) {
      pixels[value] = 1;
    }
  }
  return pixels;
}

}  // namespace

Model::Model(Graph graph, Isa isa, ConvKind kind, ThreadPool* pool, SharedWeights* shared) : isa_(isa) {
  if (graph.outputs().empty()) throw Error(Status::invalid_argument, "The network has no output; mark one with add_output.");
  LaidOut laid_out = lay_out(fuse(std::exchange(graph, Graph())));
  graph_ = std::move(laid_out.fused.graph);
  axes_ = std::move(laid_out.axes);
  const std::vector<int64_t> pixels = expected_pixels(graph_);
  steps_.resize(graph_.nodes().size());
  constants_.resize(graph_.values().size());
  const std::vector<size_t> first = first_calls(graph_), weights = first_weights(graph_);
  for (size_t i = 0; i < first.size(); ++i)
    if (first[i] != i) graph_.forget_data(i);
  SharedWeights within;  // what nodes of this graph have in common, where no other model is to have it, too
  for (size_t i = 0; i < weights.size() && shared == nullptr; ++i)
    if (weights[i] != i) shared = &within;
  const Allocator allocator = current_allocator();  // a copy: the original belongs to this thread
  const auto pack = [&](int64_t index, int) {
    const AllocatorScope scope(allocator);
    const auto i = static_cast<size_t>(index);
    if (first[i] != i) return;  // packed with the first call of the same layer
    const Node& node = graph_.nodes()[i];
    const auto value = static_cast<size_t>(node.outputs[0]);
    if (node.op == Op::constant) {
      const Tensor& tensor = node.tensor("value");
      constants_[value] = shared != nullptr ? shared->constant(tensor) : make_constant(tensor);
    }
    const StepMaker maker{graph_, node, axes_, isa, kind, pixels[value]};
    std::vector<std::string>& fused = laid_out.fused.fused[i];
    steps_[i] = shared != nullptr ? shared->step(maker, std::move(fused)) : make_step(maker, std::move(fused));
    graph_.forget_data(i);
  };
  const auto count = static_cast<int64_t>(steps_.size());
  if (pool != nullptr) {
    pool->run(count, pack);
  } else {
    for (int64_t i = 0; i < count; ++i) pack(i, 0);
  }
  for (size_t i = 0; i < steps_.size(); ++i) {
    if (first[i] != i) steps_[i] = make_repeated(graph_.nodes()[i], std::move(laid_out.fused.fused[i]), steps_[first[i]]);
  }
}

void Model::take_step(size_t index, Model& from, std::string reason) {
  steps_.at(index) = std::move(from.steps_.at(index));
  steps_[index]->info.reason = std::move(reason);
}

}  // namespace niwaki
