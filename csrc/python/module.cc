// The module niwaki._core: what python/niwaki/_core.pyi promises, and nothing more.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "base/arch.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "convert.h"
#include "describe.h"
#include "dims.h"
#include "file/file.h"
#include "file/image_words.h"
#include "graph/entries.h"
#include "graph/graph.h"
#include "graph/repeats.h"
#include "graph/shapes.h"
#include "graph/stream/stream.h"
#include "kernels/limit/limit.h"
#include "runtime/autotune.h"
#include "runtime/session.h"
#include "without_gil.h"

namespace niwaki::python {
namespace {

NamedDim add_size(Graph& graph, const std::string& name, int64_t low, int64_t high, int64_t hint) {
  const Dim size = graph.add_size(name, low, high, hint);
  return {size, std::make_shared<const std::vector<std::string>>(graph.size_names())};
}

int add_input(Graph& graph, const std::string& name, const std::string& dtype, const py::object& dims) {
  const DType type = to_dtype(dtype);  // uint8 of callers are plain bytes
  return graph.add_input(name, type == DType::u8 ? DType::byte : type, to_dims("Input '" + name + "': dims", dims));
}

int add_state(Graph& graph, const std::string& name, const py::object& initial) {
  return graph.add_state(name, to_tensor("State '" + name + "'", initial));
}

using Comparison = std::tuple<py::object, std::string, py::object>;

Guard::Comparison to_comparison(const Comparison& comparison) {
  const auto& [left, relation, right] = comparison;
  const std::pair<const char*, Relation> relations[] = {
      {"==", Relation::equal}, {"!=", Relation::not_equal}, {"<", Relation::less}, {"<=", Relation::less_equal}};
  for (const auto& [text, value] : relations)
    if (relation == text) return {to_dim(left), value, to_dim(right)};
  throw py::value_error("A guard compares with ==, !=, < or <=, not '" + relation + "'.");
}

void add_guard(Graph& graph, const std::vector<std::vector<Comparison>>& cases, const std::string& message) {
  Guard guard{{}, message};
  for (const std::vector<Comparison>& all : cases) {
    guard.cases.emplace_back();
    for (const Comparison& one : all) guard.cases.back().push_back(to_comparison(one));
  }
  graph.add_guard(std::move(guard));
}

std::vector<int> add_node(Graph& graph, const std::string& op, const std::string& name, const std::vector<int>& inputs,
                          const py::dict& attributes, const py::dict& tensors, const std::vector<py::object>& quantizations) {
  std::vector<std::optional<Quantization>> scales;
  for (const py::object& pair : quantizations) scales.push_back(to_quantization(name, pair));
  graph.add_node(op, name, inputs, to_attributes(op, name, attributes), to_tensors(name, tensors), std::move(scales));
  share_repeated(graph);
  return graph.nodes().back().outputs;
}

std::shared_ptr<Model> make_model(const Graph& graph, const std::optional<std::string>& isa, const std::string& kind, int threads,
                                  const std::shared_ptr<SharedWeights>& shared) {
  const Isa chosen = isa ? parse_isa(*isa) : current_isa();
  ConvKind forced = ConvKind::automatic;
  if (kind == "dense") {
    forced = ConvKind::dense;
  } else if (kind == "sparse") {
    forced = ConvKind::sparse;
  } else if (kind != "automatic") {
    throw py::value_error("kind must be 'automatic', 'dense' or 'sparse', not '" + kind + "'.");
  }
  const Graph copy = graph;  // shares the tensors; another thread may add to `graph` while the weights are packed
  if (threads < 1) throw py::value_error("threads must be at least 1, not " + std::to_string(threads) + ".");
  return without_gil([&] {
    ThreadPool pool(threads);
    return std::make_shared<Model>(copy, chosen, forced, &pool, shared.get());
  });
}

std::shared_ptr<Model> autotuned(const Graph& graph, const std::vector<Sizes>& shapes, const std::optional<std::string>& isa,
                                 int threads, double seconds) {
  if (!(seconds >= 0.0) || seconds > 600.0) throw py::value_error("seconds must be from 0 to 600.");
  const Isa chosen = isa ? parse_isa(*isa) : current_isa();
  const Graph copy = graph;
  return without_gil([&] { return std::shared_ptr<Model>(autotune(copy, chosen, shapes, threads, seconds)); });
}

Graph streamed(const Graph& graph, const std::string& along, int64_t piece, const std::map<std::string, int64_t>& others) {
  return without_gil([&] { return stream(graph, {along, piece, others}); });
}

py::list from_shapes(const std::vector<Sizes>& shapes) {
  py::list result;
  for (const Sizes& sizes : shapes) result.append(from_sizes(sizes));
  return result;
}

// Shapes of the outputs for inputs of these shapes.
py::list infer(const Graph& graph, const std::vector<Sizes>& shapes) {
  const Inferred inferred = infer_shapes(graph, shapes);
  std::vector<Sizes> outputs;
  for (const Port& port : graph.outputs()) outputs.push_back(inferred.shapes[static_cast<size_t>(port.value)]);
  return from_shapes(outputs);
}

void run(Session& session, const std::vector<std::pair<uintptr_t, Sizes>>& inputs, const std::vector<uintptr_t>& outputs) {
  std::vector<Session::Input> sources;
  for (const auto& [address, sizes] : inputs) sources.push_back({reinterpret_cast<const void*>(address), sizes});
  std::vector<void*> targets;
  for (uintptr_t address : outputs) targets.push_back(reinterpret_cast<void*>(address));
  without_gil([&] { session.run(sources, targets); });
}

py::array tensor(const Graph& graph, size_t node, const std::string& name) {
  if (node >= graph.nodes().size())
    throw py::value_error("The graph has " + std::to_string(graph.nodes().size()) + " nodes, no number " + std::to_string(node) +
                          ".");
  const Tensor* found = graph.nodes()[node].find_tensor(name.c_str());
  if (found == nullptr) throw py::value_error(graph.nodes()[node].name + ": there is no tensor '" + name + "'.");
  return from_tensor(*found);
}

std::vector<std::string> port_names(const std::vector<Port>& ports) {
  std::vector<std::string> names;
  for (const Port& port : ports) names.push_back(port.name);
  return names;
}

void save(const Graph& graph, const std::string& path) {
  const Graph copy = graph;
  without_gil([&] { write_file(copy, path); });
}

Graph load(const std::string& path) {
  return without_gil([&] { return read_file(path); });
}

using NamedGraph = std::pair<std::string, Graph>;

std::vector<NamedGraph> load_entries(const std::string& path) {
  std::vector<NamedGraph> named;
  for (Entry& entry : without_gil([&] { return read_entries(path); }))
    named.emplace_back(std::move(entry.name), std::move(entry.graph));
  return named;
}

void save_entries(const std::vector<NamedGraph>& named, const std::string& path) {
  std::vector<Entry> entries;
  for (const auto& [name, graph] : named) entries.push_back({name, graph});
  without_gil([&] { write_file(entries, path); });
}

void share(const std::vector<Graph*>& graphs) {
  for (Graph* graph : graphs)
    if (graph == nullptr) throw py::type_error("share_tensors: graphs must be Graphs, not None.");
  share_tensors(graphs);
}

py::tuple inspect(const std::string& path) {
  const FileContents contents = without_gil([&] { return inspect_file(path); });
  const FileInfo& info = contents.info;
  py::dict checksums, file;
  checksums["header"] = hexadecimal(info.header_checksum);
  checksums["graph"] = hexadecimal(info.graph_checksum);
  checksums["table"] = hexadecimal(info.table_checksum);
  file["version"] = info.version;
  file["bytes"] = info.bytes;
  file["graph_bytes"] = info.graph_bytes;
  file["table_bytes"] = info.table_bytes;
  file["checksums"] = checksums;
  py::list entries;
  for (size_t i = 0; i < contents.entries.size(); ++i) {
    const auto& [name, graph] = contents.entries[i];
    entries.append(py::make_tuple(name, graph, describe_nodes(graph, &info.entries[i])));
  }
  return py::make_tuple(entries, file);
}

py::tuple stored_weight(const py::array_t<int8_t, py::array::c_style>& weight) {
  std::vector<int64_t> shape(weight.shape(), weight.shape() + weight.ndim());
  const Tensor tensor = Tensor::copy_of(DType::i8, std::move(shape), weight.data());
  const StoredSize stored = stored_size(tensor);
  return py::make_tuple(stored.bytes, storage_name(stored.storage));
}

py::object image(const std::map<std::string, std::string>& metadata) {
  const std::optional<ImageWords> words = image_words(metadata);
  if (!words) return py::none();
  return py::make_tuple(words->mean, words->std);
}

double limit(double seconds) {
  if (!(seconds > 0.0) || seconds > 60.0) throw py::value_error("seconds must be above 0 and at most 60.");
  const Isa isa = current_isa();
  return without_gil([&] { return int8_limit(isa, seconds); });
}

void define_errors(py::module_& module) {
  PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<py::object> niwaki_error;
  niwaki_error.call_once_and_store_result([&] { return py::object(py::exception<Error>(module, "NiwakiError")); });
  py::object& stored = niwaki_error.get_stored();
  stored.attr("__doc__") =
      "What the core could not do: a bad file, an unsupported request. Bad arguments are ValueError or TypeError.";
  py::register_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const Error& error) {
      if (error.status() == Status::invalid_argument) {
        py::set_error(PyExc_ValueError, error.what());
      } else {
        py::set_error(niwaki_error.get_stored(), error.what());
      }
    } catch (const std::bad_alloc&) {
      py::set_error(niwaki_error.get_stored(), "Not enough memory.");
    }
  });
}

}  // namespace

PYBIND11_MODULE(_core, module) {
  module.doc() = "The native core of niwaki.";
  module.attr("__version__") = NIWAKI_VERSION;
  define_errors(module);

  module.def(
      "isa", [] { return std::string(isa_name(current_isa())); },
      "The instruction set in force: NIWAKI_ISA, or the best of this machine.");
  module.def(
      "isas",
      [] {
        std::vector<std::string> names;
        for (Isa isa : supported_isas()) names.emplace_back(isa_name(isa));
        return names;
      },
      "The instruction sets that this machine can run, in rising order, beginning with 'scalar'.");
  module.def("cpu_name", &cpu_name);
  module.def("operators", &describe_operators);
  define_dims(module);
  module.def("inspect_file", &inspect, py::arg("path"));
  module.def("load_entries", &load_entries, py::arg("path"));
  module.def("save_entries", &save_entries, py::arg("entries"), py::arg("path"));
  module.def("share_tensors", &share, py::arg("graphs"));
  module.def("image_words", &image, py::arg("metadata"));
  module.def("stored_weight", &stored_weight, py::arg("weight").noconvert());
  module.def(
      "int8_limit", &limit, py::arg("seconds") = 0.05,
      "Multiply-accumulates a second that one core reaches on the int8 instruction of the set in force, operands in registers.");

  py::class_<Graph>(module, "Graph",
                    "A network as docs/architecture.md describes it. Values are numbered in the order in which they are added.")
      .def(py::init<>())
      .def("add_size", &add_size, py::arg("name"), py::arg("low") = 0, py::arg("high") = INT64_MAX, py::arg("hint") = 0)
      .def("add_input", &add_input, py::arg("name"), py::arg("dtype"), py::arg("dims"))
      .def("add_state", &add_state, py::arg("name"), py::arg("initial"))
      .def("set_state", &Graph::set_state, py::arg("value"), py::arg("next"))
      .def("add_guard", &add_guard, py::arg("cases"), py::arg("message"))
      .def("add_node", &add_node, py::arg("op"), py::arg("name"), py::arg("inputs"), py::arg("attributes") = py::dict(),
           py::arg("tensors") = py::dict(), py::arg("quantizations") = py::tuple())
      .def("add_output", &Graph::add_output, py::arg("value"), py::arg("name"))
      .def_property_readonly("inputs", [](const Graph& graph) { return port_names(graph.inputs()); })
      .def_property_readonly("outputs", [](const Graph& graph) { return port_names(graph.outputs()); })
      .def_property_readonly("input_ports", [](const Graph& graph) { return describe_ports(graph, graph.inputs()); })
      .def_property_readonly("output_ports", [](const Graph& graph) { return describe_ports(graph, graph.outputs()); })
      .def_property_readonly("sizes", &describe_sizes)
      .def_property_readonly("guards", &describe_guards)
      .def_property_readonly("states", &describe_states)
      .def("infer", &infer, py::arg("shapes"))
      .def("streamed", &streamed, py::arg("along"), py::arg("piece"), py::arg("others") = py::dict())
      .def_readwrite("metadata", &Graph::metadata)
      .def(
          "nodes", [](const Graph& graph, bool trees) { return describe_nodes(graph, nullptr, trees); }, py::kw_only(),
          py::arg("trees") = false)
      .def("values", &describe_values)
      .def("tensor", &tensor, py::arg("node"), py::arg("name"))
      .def("save", &save, py::arg("path"))
      .def_static("load", &load, py::arg("path"));

  py::class_<SharedWeights, std::shared_ptr<SharedWeights>>(
      module, "SharedWeights", "Packed layers and constants that models have in common which are given the same one.")
      .def(py::init<>());

  py::class_<Model, std::shared_ptr<Model>>(module, "Model",
                                            "Weights packed for this machine. Immutable; sessions on any thread share it.")
      .def(py::init(&make_model), py::arg("graph"), py::arg("isa") = py::none(), py::arg("kind") = "automatic",
           py::arg("threads") = 1, py::arg("shared") = nullptr)
      .def_static("autotuned", &autotuned, py::arg("graph"), py::arg("shapes"), py::arg("isa") = py::none(),
                  py::arg("threads") = 1, py::arg("seconds") = 1.0)
      .def_property_readonly("isa", [](const Model& model) { return std::string(isa_name(model.isa())); })
      .def("steps", &describe_steps);

  py::class_<Session>(module, "Session", "Runs a model. Belongs to one thread at a time; releases the GIL while it runs.")
      .def(py::init(
               [](std::shared_ptr<Model> model, int threads) { return std::make_unique<Session>(std::move(model), threads); }),
           py::arg("model"), py::arg("threads") = 1)
      .def("run", &run, py::arg("inputs"), py::arg("outputs"))
      .def(
          "output_shapes",
          [](const Session& session, const std::vector<Sizes>& shapes) { return from_shapes(session.output_shapes(shapes)); },
          py::arg("shapes"))
      .def("profile", &Session::milliseconds)
      .def("macs", &Session::macs)
      .def("measure_waits", &Session::measure_waits, py::arg("on") = true)
      .def("waits",
           [](const Session& session) {
             py::list steps;
             for (const Session::Waits& waits : session.waits())
               steps.append(py::make_tuple(waits.alone, waits.begin, waits.end));
             return steps;
           })
      .def_property_readonly("activation_bytes", &Session::activation_bytes)
      .def("reset_state", &Session::reset_state)
      .def(
          "get_state", [](const Session& session, const std::string& name) { return from_tensor(session.state(name)); },
          py::arg("name"))
      .def(
          "set_state",
          [](Session& session, const std::string& name, const py::object& value) {
            session.set_state(name, to_tensor("State '" + name + "'", value));
          },
          py::arg("name"), py::arg("value"));
}

}  // namespace niwaki::python
