// niwaki_model_*: opening files and asking what is in them.
#include <span>
#include <utility>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "capi/handles.h"
#include "capi/objects.h"
#include "file/file.h"

namespace niwaki::capi {

constexpr int kMaxThreads = 1024;

Options checked(const niwaki_options* options, const char* function) {
  Options result;
  if (options == nullptr) return result;
  if (options->threads < 0 || options->threads > kMaxThreads)
    refuse(std::string(function) + ": threads must be from 0 to " + std::to_string(kMaxThreads) + ", not " +
           std::to_string(options->threads) + ".");
  result.threads = options->threads > 1 ? options->threads : 1;
  if ((options->allocate == nullptr) != (options->release == nullptr))
    refuse(std::string(function) + ": allocate and release go together; give both or neither.");
  if (options->allocate != nullptr) result.allocator = {options->allocate, options->release, options->user};
  return result;
}

std::shared_ptr<const OpenModel> open_model(const niwaki_model* handle, const char* function) {
  expect(handle, function, "model");
  auto found = find_handle(Kind::model, reinterpret_cast<uintptr_t>(handle));
  if (!found) refuse(std::string(function) + ": model is not open; it was closed, or is something else.");
  return std::static_pointer_cast<const OpenModel>(std::move(found));
}

std::string text_of(const std::vector<int64_t>& sizes) {
  std::string text = "[";
  for (size_t i = 0; i < sizes.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(sizes[i]);
  return text + "]";
}

niwaki_shape shape_of(const std::vector<int64_t>& sizes) {
  niwaki_shape shape{};
  shape.rank = static_cast<int32_t>(sizes.size());
  std::copy(sizes.begin(), sizes.end(), shape.sizes);
  return shape;
}

std::vector<int64_t> sizes_of(const niwaki_shape& shape, const std::string& what) {
  if (shape.rank < 0 || shape.rank > NIWAKI_MAX_RANK)
    refuse(what + ": the rank of its shape must be 2 or 4, not " + std::to_string(shape.rank) + ".");
  return {shape.sizes, shape.sizes + shape.rank};
}

namespace {

niwaki_model* add_model(Graph graph, const Options& options) {
  auto opened = std::make_shared<OpenModel>();
  opened->pixels = pixel_table(graph.metadata);
  const Isa isa = current_isa();
  if (options.threads > 1) {
    ThreadPool pool(options.threads);
    opened->model = std::make_shared<Model>(std::move(graph), isa, ConvKind::automatic, &pool);
  } else {
    opened->model = std::make_shared<Model>(std::move(graph), isa);
  }
  return reinterpret_cast<niwaki_model*>(add_handle(Kind::model, std::move(opened)));
}

const Port& port_at(const std::vector<Port>& ports, size_t index, const char* function) {
  if (index >= ports.size())
    refuse(std::string(function) + ": there is no " + std::to_string(index) + "; the model has " + std::to_string(ports.size()) +
           ", counted from 0.");
  return ports[index];
}

niwaki_port describe(const Graph& graph, const Port& port, bool input) {
  const Value& value = graph.value(port.value);
  niwaki_port result{};
  result.name = port.name.c_str();
  result.shape = value.rank == 2 ? niwaki_shape{2, {-1, value.channels, 0, 0}} : niwaki_shape{4, {-1, value.channels, -1, -1}};
  if (!input) return result;
  result.expected = result.shape;
  result.expected.sizes[0] = 1;
  if (value.rank == 4 && port.expected_height > 0) result.expected.sizes[2] = port.expected_height;
  if (value.rank == 4 && port.expected_width > 0) result.expected.sizes[3] = port.expected_width;
  return result;
}

}  // namespace
}  // namespace niwaki::capi

using namespace niwaki;
using namespace niwaki::capi;

const char* niwaki_last_error(void) { return last_error(); }
const char* niwaki_version(void) { return NIWAKI_VERSION; }

const char* niwaki_status_name(niwaki_status status) {
  switch (status) {
    case NIWAKI_OK: return "ok";
    case NIWAKI_INVALID_ARGUMENT: return "invalid argument";
    case NIWAKI_INVALID_FILE: return "invalid file";
    case NIWAKI_UNSUPPORTED: return "unsupported";
    case NIWAKI_OUT_OF_MEMORY: return "out of memory";
    case NIWAKI_INTERNAL: return "internal error";
    case NIWAKI_BUSY: return "busy";
  }
  return "unknown status";
}

niwaki_status niwaki_model_open(const char* path, const niwaki_options* options, niwaki_model** model) {
  return guarded([&] {
    expect(path, "niwaki_model_open", "path");
    expect(model, "niwaki_model_open", "model");
    const Options chosen = checked(options, "niwaki_model_open");
    const AllocatorScope scope(chosen.allocator);
    *model = add_model(read_file(path), chosen);
  });
}

niwaki_status niwaki_model_open_memory(const void* data, size_t bytes, const niwaki_options* options, niwaki_model** model) {
  return guarded([&] {
    expect(data, "niwaki_model_open_memory", "data");
    expect(model, "niwaki_model_open_memory", "model");
    const Options chosen = checked(options, "niwaki_model_open_memory");
    const AllocatorScope scope(chosen.allocator);
    *model = add_model(read_memory({static_cast<const uint8_t*>(data), bytes}), chosen);
  });
}

niwaki_status niwaki_model_close(niwaki_model* model) {
  return guarded([&] {
    if (model != nullptr && !remove_handle(Kind::model, reinterpret_cast<uintptr_t>(model)))
      refuse("niwaki_model_close: model is not open; it was closed before, or is something else.");
  });
}

niwaki_status niwaki_model_counts(const niwaki_model* model, size_t* inputs, size_t* outputs) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_counts");
    if (inputs != nullptr) *inputs = opened->model->graph().inputs().size();
    if (outputs != nullptr) *outputs = opened->model->graph().outputs().size();
  });
}

niwaki_status niwaki_model_input(const niwaki_model* model, size_t index, niwaki_port* port) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_input");
    expect(port, "niwaki_model_input", "port");
    const Graph& graph = opened->model->graph();
    *port = describe(graph, port_at(graph.inputs(), index, "niwaki_model_input"), true);
  });
}

niwaki_status niwaki_model_output(const niwaki_model* model, size_t index, niwaki_port* port) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_output");
    expect(port, "niwaki_model_output", "port");
    const Graph& graph = opened->model->graph();
    *port = describe(graph, port_at(graph.outputs(), index, "niwaki_model_output"), false);
  });
}

niwaki_status niwaki_model_metadata(const niwaki_model* model, const char* key, const char** value) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_metadata");
    expect(key, "niwaki_model_metadata", "key");
    expect(value, "niwaki_model_metadata", "value");
    const auto& metadata = opened->model->graph().metadata;
    const auto found = metadata.find(key);
    if (found == metadata.end()) refuse("niwaki_model_metadata: the file carries no '" + std::string(key) + "'.");
    *value = found->second.c_str();
  });
}

niwaki_status niwaki_model_isa(const niwaki_model* model, const char** isa) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_isa");
    expect(isa, "niwaki_model_isa", "isa");
    *isa = isa_name(opened->model->isa());
  });
}

niwaki_status niwaki_model_output_shape(const niwaki_model* model, const niwaki_shape* inputs, size_t input_count, size_t index,
                                        niwaki_shape* shape) {
  return guarded([&] {
    const auto opened = open_model(model, "niwaki_model_output_shape");
    if (input_count > 0) expect(inputs, "niwaki_model_output_shape", "inputs");
    expect(shape, "niwaki_model_output_shape", "shape");
    const Graph& graph = opened->model->graph();
    const Port& port = port_at(graph.outputs(), index, "niwaki_model_output_shape");
    if (input_count != graph.inputs().size())  // before an array is read that may be shorter than the caller says
      refuse("niwaki_model_output_shape: the network has " + std::to_string(graph.inputs().size()) + " inputs, not " +
             std::to_string(input_count) + ".");
    std::vector<std::vector<int64_t>> sizes;
    for (size_t i = 0; i < input_count; ++i) sizes.push_back(sizes_of(inputs[i], "Input " + std::to_string(i)));
    *shape = shape_of(infer_shapes(graph, sizes)[static_cast<size_t>(port.value)].sizes());
  });
}
