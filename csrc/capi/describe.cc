// niwaki_model_*: asking what is in a network.
#include <utility>

#include "base/arch.h"
#include "capi/objects.h"
#include "capi/tensors.h"
#include "graph/shapes.h"

namespace niwaki::capi {
namespace {

niwaki_dim describe(const Graph& graph, const Dim& dim) {
  if (dim.is_constant()) return {nullptr, dim.value(), dim.value()};
  if (dim.kind() != Dim::Kind::size) return {nullptr, 0, INT64_MAX};
  const FreeSize& size = graph.sizes()[static_cast<size_t>(dim.value())];
  return {size.name.c_str(), size.low, size.high};
}

// The size where all free ones are as expected; -1 where that is not known, or is no size.
int64_t expected(const Dim& dim, const Sizes& hints) {
  try {
    return std::max<int64_t>(dim.evaluate(hints), -1);
  } catch (const Error&) {
    return -1;
  }
}

niwaki_port describe(const Graph& graph, const Port& port) {
  const Value& value = graph.value(port.value);
  niwaki_port result{};
  result.name = port.name.c_str();
  result.type = type_of(value.dtype);
  result.shape.rank = result.expected.rank = value.rank();
  Sizes hints;
  for (const FreeSize& size : graph.sizes()) hints.push_back(size.hint > 0 ? size.hint : -1);
  for (size_t axis = 0; axis < value.dims.size(); ++axis) {
    const Dim& dim = value.dims[axis];
    result.dims[axis] = describe(graph, dim);
    result.shape.sizes[axis] = dim.is_constant() ? dim.value() : -1;
    result.expected.sizes[axis] = expected(dim, hints);
  }
  return result;
}

}  // namespace
}  // namespace niwaki::capi

using namespace niwaki;
using namespace niwaki::capi;

niwaki_status niwaki_model_counts(const niwaki_model* model, size_t* inputs, size_t* outputs) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_counts");
    if (inputs != nullptr) *inputs = opened->graph().inputs().size();
    if (outputs != nullptr) *outputs = opened->graph().outputs().size();
  });
}

niwaki_status niwaki_model_input(const niwaki_model* model, size_t index, niwaki_port* port) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_input");
    expect(port, "niwaki_model_input", "port");
    *port = describe(opened->graph(), item_at(opened->graph().inputs(), index, "niwaki_model_input", "input"));
  });
}

niwaki_status niwaki_model_output(const niwaki_model* model, size_t index, niwaki_port* port) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_output");
    expect(port, "niwaki_model_output", "port");
    *port = describe(opened->graph(), item_at(opened->graph().outputs(), index, "niwaki_model_output", "output"));
  });
}

niwaki_status niwaki_model_size_count(const niwaki_model* model, size_t* count) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_size_count");
    expect(count, "niwaki_model_size_count", "count");
    *count = opened->graph().sizes().size();
  });
}

niwaki_status niwaki_model_size(const niwaki_model* model, size_t index, niwaki_size* size) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_size");
    expect(size, "niwaki_model_size", "size");
    const FreeSize& found = item_at(opened->graph().sizes(), index, "niwaki_model_size", "free size");
    *size = {found.name.c_str(), found.low, found.high, found.hint};
  });
}

niwaki_status niwaki_model_state_count(const niwaki_model* model, size_t* count) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_state_count");
    expect(count, "niwaki_model_state_count", "count");
    *count = opened->graph().states().size();
  });
}

niwaki_status niwaki_model_state(const niwaki_model* model, size_t index, niwaki_state* state) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_state");
    expect(state, "niwaki_model_state", "state");
    const State& found = item_at(opened->graph().states(), index, "niwaki_model_state", "state");
    *state = {found.name.c_str(), type_of(found.initial.dtype()), shape_of(found.initial.shape())};
  });
}

niwaki_status niwaki_model_metadata(const niwaki_model* model, const char* key, const char** value) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_metadata");
    expect(key, "niwaki_model_metadata", "key");
    expect(value, "niwaki_model_metadata", "value");
    const auto& metadata = opened->graph().metadata;
    const auto found = metadata.find(key);
    if (found == metadata.end()) refuse("niwaki_model_metadata: the file carries no '" + std::string(key) + "'.");
    *value = found->second.c_str();
  });
}

niwaki_status niwaki_model_isa(const niwaki_model* model, const char** isa) {
  return guarded([&] {
    const auto opened = open_file(model, "niwaki_model_isa");
    expect(isa, "niwaki_model_isa", "isa");
    *isa = isa_name(opened->entries[0]->model->isa());  // the others have the same
  });
}

niwaki_status niwaki_model_output_shape(const niwaki_model* model, const niwaki_shape* inputs, size_t input_count, size_t index,
                                        niwaki_shape* shape) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_output_shape");
    if (input_count > 0) expect(inputs, "niwaki_model_output_shape", "inputs");
    expect(shape, "niwaki_model_output_shape", "shape");
    const Graph& graph = opened->graph();
    const Port& port = item_at(graph.outputs(), index, "niwaki_model_output_shape", "output");
    if (input_count != graph.inputs().size())  // before an array is read that may be shorter than the caller says
      refuse("niwaki_model_output_shape: the network has " + std::to_string(graph.inputs().size()) + " inputs, not " +
             std::to_string(input_count) + ".");
    std::vector<Sizes> sizes;
    for (size_t i = 0; i < input_count; ++i) sizes.push_back(sizes_of(inputs[i], "Input '" + graph.inputs()[i].name + "'"));
    *shape = shape_of(infer_shapes(graph, sizes).shapes[static_cast<size_t>(port.value)]);
  });
}
