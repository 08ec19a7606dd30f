#include "runtime/sized.h"

#include <algorithm>

#include "base/status.h"
#include "graph/operators.h"
#include "runtime/layout.h"

namespace niwaki {

std::vector<bool> follows_inputs(const Graph& graph) {
  std::vector<bool> follows(graph.values().size(), false);
  for (const Port& port : graph.inputs()) follows[static_cast<size_t>(port.value)] = true;
  for (const State& state : graph.states()) follows[static_cast<size_t>(state.value)] = true;
  for (const Node& node : graph.nodes()) {
    const bool any = std::any_of(node.inputs.begin(), node.inputs.end(),
                                 [&](int input) { return input >= 0 && follows[static_cast<size_t>(input)]; });
    for (const int output : node.outputs) follows[static_cast<size_t>(output)] = any;
  }
  return follows;
}

Shapes::Shapes(const Graph& graph, std::vector<Sizes> inputs, std::shared_ptr<const Inferred> inferred)
    : graph_(&graph), inputs_(std::move(inputs)) {
  if (!inferred) inferred = std::make_shared<const Inferred>(infer_shapes(graph, inputs_));
  const int64_t images = count_images(*inferred);
  known_[images > 1 ? images : 1] = std::move(inferred);
  if (images < 2) return;
  images_ = images;
  try {
    of(1);
  } catch (const Error&) {  // one image alone is refused: a network may know only some numbers of them
    *this = whole();
  }
}

Shapes Shapes::whole() const {
  Shapes result = *this;
  result.known_ = {{1, known_.at(images_)}};
  result.images_ = 1;
  return result;
}

// The size that axis 0 of all inputs is, whatever it is; 0 where there is none.
int64_t Shapes::count_images(const Inferred& inferred) {
  if (inputs_.empty() || !graph_->states().empty()) return 0;
  for (const Port& port : graph_->inputs()) {
    const Dims &dims = graph_->value(port.value).dims, &first = graph_->value(graph_->inputs()[0].value).dims;
    if (dims.empty() || dims[0].kind() != Dim::Kind::size || !(dims[0] == first[0])) return 0;
  }
  const int64_t images = inputs_[0][0];
  if (images < 2) return 0;
  auto batched = batched_values(*graph_, inferred);
  if (!batched) return 0;
  batched_ = *std::move(batched);
  return scales(inferred, images) ? images : 0;
}

// Whether all batched values have so many images, and all others are the same for any number of them.
bool Shapes::scales(const Inferred& inferred, int64_t images) const {
  const Inferred& all = known_.empty() ? inferred : *known_.rbegin()->second;
  for (const Node& node : graph_->nodes()) {
    for (const int value : node.outputs) {
      const auto v = static_cast<size_t>(value);
      const Sizes& shape = inferred.shapes[v];
      if (batched_[v] ? shape.empty() || shape[0] != images : shape != all.shapes[v]) return false;
    }
  }
  return true;
}

const Inferred& Shapes::of(int64_t images) {
  auto& found = known_[images];
  if (found) return *found;
  std::vector<Sizes> inputs = inputs_;
  for (Sizes& sizes : inputs) sizes[0] = images;
  auto inferred = std::make_shared<const Inferred>(infer_shapes(*graph_, inputs));
  if (!scales(*inferred, images)) throw Error(Status::unsupported, "The network does not run image by image.");
  found = std::move(inferred);
  return *found;
}

Array size_value(const Model& model, int value, const Inferred& inferred) {
  const Value& known = model.graph().value(value);
  Array array;
  array.dtype = known.dtype;
  array.dims = inferred.shapes[static_cast<size_t>(value)];
  try {
    array.planes = planes_of(array.dims, model.axes()[static_cast<size_t>(value)]);
  } catch (const Error& error) {
    if (known.node < 0) throw;
    refuse(model.graph().nodes()[static_cast<size_t>(known.node)], error.what());
  }
  return array;
}

SizedStep size_step(const Model& model, size_t step, const Inferred& inferred) {
  const Node& node = model.graph().nodes()[step];
  SizedStep sized;
  sized.attributes = inferred.attributes[step];
  for (const int value : node.inputs) {
    if (value >= 0) {
      sized.in.push_back(size_value(model, value, inferred));
    } else {
      sized.in.emplace_back();
      sized.in.back().given = false;
    }
  }
  for (const int value : node.outputs) sized.out.push_back(size_value(model, value, inferred));
  return sized;
}

int64_t bytes_of(const Array& array) {
  if (array.grouped()) return planes_bytes(array.planes.pixels(), array.planes.channels);
  return array.elements() * dtype_bytes(array.dtype);
}

}  // namespace niwaki
