#include "describe.h"

#include <pybind11/stl.h>

#include <cstdio>
#include <iterator>
#include <map>
#include <span>
#include <string>

#include "convert.h"
#include "dims.h"
#include "graph/operators.h"

namespace niwaki::python {
namespace {

py::dict describe_tensor(const Tensor& tensor, const FileInfo::Payload* stored) {
  py::dict entry;
  entry["dtype"] = dtype_name(tensor.dtype());
  entry["shape"] = from_sizes(tensor.shape());
  entry["zeros"] = tensor.zeros();
  if (stored != nullptr) {
    entry["bytes"] = stored->bytes;
    entry["form"] = storage_name(stored->storage);
    entry["offset"] = stored->offset;
    entry["checksum"] = hexadecimal(stored->checksum);
  } else {
    const StoredSize size = stored_size(tensor);
    entry["bytes"] = size.bytes;
    entry["form"] = storage_name(size.storage);
  }
  return entry;
}

py::object describe_quantization(const std::optional<Quantization>& quantization) {
  if (!quantization) return py::none();
  return py::make_tuple(quantization->scale, quantization->zero_point);
}

const char* relation_text(Relation relation) {
  switch (relation) {
    case Relation::equal: return "==";
    case Relation::not_equal: return "!=";
    case Relation::less: return "<";
    case Relation::less_equal: return "<=";
  }
  return "";
}

const char* kind_text(AttributeKind kind) {
  switch (kind) {
    case AttributeKind::integers: return "integers";
    case AttributeKind::expressions: return "expressions";
    case AttributeKind::numbers: return "numbers";
    case AttributeKind::word: return "word";
  }
  return "";
}

py::dict describe_attribute(const AttributeRule& rule) {
  py::dict entry;
  entry["name"] = rule.name;
  entry["kind"] = kind_text(rule.kind);
  entry["count"] = rule.count;
  entry["low"] = rule.low;
  entry["high"] = rule.high;
  entry["words"] = rule.words;
  entry["required"] = !rule.otherwise.has_value();
  entry["default"] = rule.otherwise ? from_attributes({{"value", *rule.otherwise}}, {})["value"].cast<py::object>() : py::none();
  return entry;
}

py::list describe_types(TypeSet types) {
  py::list names;
  for (const DType type : kDTypes)
    if (contains(types, type)) names.append(dtype_name(type));
  return names;
}

}  // namespace

std::string hexadecimal(uint32_t checksum) {
  char text[9];
  std::snprintf(text, sizeof text, "%08x", static_cast<unsigned>(checksum));
  return text;
}

py::list describe_values(const Graph& graph) {
  py::list result;
  for (const Value& value : graph.values()) {
    py::dict entry;
    entry["dtype"] = dtype_name(value.dtype);
    entry["quantization"] = describe_quantization(value.quantization);
    entry["dims"] = trees_of(value.dims);
    result.append(entry);
  }
  return result;
}

py::list describe_nodes(const Graph& graph, const FileInfo::Places* places, bool trees) {
  const std::vector<std::string> names = graph.size_names();
  py::list result;
  for (size_t i = 0; i < graph.nodes().size(); ++i) {
    const Node& node = graph.nodes()[i];
    py::dict tensors;
    for (const auto& [name, tensor] : node.tensors)
      tensors[py::str(name)] = describe_tensor(tensor, places != nullptr ? &places->tensors[i].at(name) : nullptr);
    py::list quantizations, dtypes;
    for (const int output : node.outputs) {
      quantizations.append(describe_quantization(graph.value(output).quantization));
      dtypes.append(dtype_name(graph.value(output).dtype));
    }
    py::dict entry;
    entry["op"] = op_name(node.op);
    entry["name"] = node.name;
    entry["inputs"] = node.inputs;
    entry["outputs"] = node.outputs;
    entry["attributes"] = trees ? trees_of(node.attributes) : from_attributes(node.attributes, names);
    entry["quantizations"] = quantizations;
    entry["dtypes"] = dtypes;
    entry["tensors"] = tensors;
    result.append(entry);
  }
  return result;
}

py::list describe_ports(const Graph& graph, const std::vector<Port>& ports) {
  py::list result;
  for (const Port& port : ports) {
    const Value& value = graph.value(port.value);
    py::dict entry;
    entry["name"] = port.name;
    entry["value"] = port.value;
    entry["dtype"] = value.dtype == DType::byte ? "uint8" : dtype_name(value.dtype);  // of the array that a caller has
    entry["dims"] = from_dims(value.dims, graph.size_names());
    result.append(entry);
  }
  return result;
}

py::list describe_sizes(const Graph& graph) {
  py::list result;
  for (const FreeSize& size : graph.sizes()) {
    py::dict entry;
    entry["name"] = size.name;
    entry["low"] = size.low;
    entry["high"] = size.high;
    entry["hint"] = size.hint;
    result.append(entry);
  }
  return result;
}

py::list describe_guards(const Graph& graph) {
  const std::vector<std::string> names = graph.size_names();
  py::list result;
  for (const Guard& guard : graph.guards()) {
    py::list cases, trees;
    for (const auto& all : guard.cases) {
      py::list comparisons, parts;
      for (const Guard::Comparison& one : all) {
        const char* relation = relation_text(one.relation);
        comparisons.append(one.left.text(names) + " " + relation + " " + one.right.text(names));
        parts.append(py::make_tuple(tree_of(one.left), relation, tree_of(one.right)));
      }
      cases.append(comparisons);
      trees.append(parts);
    }
    py::dict entry;
    entry["message"] = guard.message;
    entry["cases"] = cases;
    entry["trees"] = trees;
    result.append(entry);
  }
  return result;
}

py::list describe_states(const Graph& graph) {
  py::list result;
  for (const State& state : graph.states()) {
    py::dict entry;
    entry["name"] = state.name;
    entry["dtype"] = dtype_name(state.initial.dtype());
    entry["shape"] = from_sizes(state.initial.shape());
    result.append(entry);
  }
  return result;
}

py::list describe_steps(const Model& model) {
  py::list result;
  std::map<const uint8_t*, std::string> holders;  // of memory that steps have in common: the first one
  for (const auto& step : model.steps()) {
    StepInfo info = step->info;
    std::string holder;
    for (const std::span<const uint8_t> memory : step->shareable()) {
      if (memory.empty()) continue;
      const auto [known, is_first] = holders.emplace(memory.data(), info.name);
      if (is_first) continue;
      info.bytes -= std::ssize(memory);
      holder = known->second;
    }
    if (!holder.empty()) info.reason += (info.reason.empty() ? "" : "; ") + std::string("the weights of ") + holder;
    py::dict entry;
    entry["name"] = info.name;
    entry["op"] = info.op;
    entry["fused"] = info.fused;
    entry["scheme"] = info.scheme;
    entry["kernel"] = info.kernel;
    entry["zeros"] = info.zeros;
    entry["bytes"] = info.bytes;
    entry["reason"] = info.reason;
    result.append(entry);
  }
  return result;
}

py::list describe_operators() {
  py::list result;
  for (const OperatorRule& rule : operator_rules()) {
    py::list inputs, attributes, tensors;
    for (const InputRule& input : rule.inputs) {
      py::dict entry;
      entry["name"] = input.name;
      entry["dtypes"] = describe_types(input.types);
      entry["min_rank"] = input.min_rank;
      entry["max_rank"] = input.max_rank;
      entry["optional"] = input.optional;
      inputs.append(entry);
    }
    for (const AttributeRule& attribute : rule.attributes) attributes.append(describe_attribute(attribute));
    for (const TensorRule& tensor : rule.tensors) {
      py::dict entry;
      entry["name"] = tensor.name;
      entry["dtypes"] = describe_types(tensor.types);
      entry["rank"] = tensor.rank;
      entry["optional"] = tensor.optional;
      tensors.append(entry);
    }
    py::dict entry;
    entry["name"] = rule.name;
    entry["summary"] = rule.summary;
    entry["inputs"] = inputs;
    entry["repeats_input"] = rule.repeats_input;
    entry["keeps_scale"] = rule.keeps_scale;
    entry["attributes"] = attributes;
    entry["tensors"] = tensors;
    entry["more_tensors"] = rule.more_tensors_text;
    result.append(entry);
  }
  return result;
}

}  // namespace niwaki::python
