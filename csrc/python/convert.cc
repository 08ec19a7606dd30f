#include "convert.h"

#include <pybind11/stl.h>

#include <algorithm>

#include "dims.h"
#include "graph/operators.h"

namespace niwaki::python {
namespace {

bool is_sequence(const py::handle& value) { return py::isinstance<py::sequence>(value) && !py::isinstance<py::str>(value); }
bool is_number(const py::handle& value) { return PyFloat_Check(value.ptr()) != 0 || PyIndex_Check(value.ptr()) != 0; }

py::list items_of(const py::handle& value) {
  if (is_sequence(value)) return py::list(py::reinterpret_borrow<py::object>(value));
  py::list one;
  one.append(value);
  return one;
}

// Whether the operator has the attribute as numbers; what it does not have becomes what it looks like, and is refused with the node.
bool wants_numbers(const OperatorRule* rule, const std::string& name, const py::list& items) {
  if (rule != nullptr)
    for (const AttributeRule& attribute : rule->attributes)
      if (name == attribute.name) return attribute.kind == AttributeKind::numbers;
  return std::any_of(items.begin(), items.end(), [](const py::handle& item) { return PyFloat_Check(item.ptr()) != 0; });
}

template <typename FromDims>
py::dict described(const Attributes& attributes, FromDims from_dims) {
  py::dict result;
  for (const auto& [name, value] : attributes) {
    const py::str key(name);
    if (const auto* dims = std::get_if<Dims>(&value)) result[key] = from_dims(*dims);
    else if (const auto* numbers = std::get_if<std::vector<double>>(&value)) result[key] = py::cast(*numbers);
    else result[key] = py::str(std::get<std::string>(value));
  }
  return result;
}

}  // namespace

Attributes to_attributes(const std::string& op, const std::string& node, const py::dict& attributes) {
  const OperatorRule* rule = find_operator(op);
  Attributes result;
  for (const auto& [key, value] : attributes) {
    const auto name = py::cast<std::string>(key);
    if (py::isinstance<py::str>(value)) {
      result[name] = py::cast<std::string>(value);
      continue;
    }
    const py::list items = items_of(value);
    if (wants_numbers(rule, name, items)) {
      std::vector<double> numbers;
      for (const py::handle& item : items) {
        if (!is_number(item))
          throw py::type_error(node + ": attribute '" + name + "' must be a number or a sequence of numbers.");
        numbers.push_back(py::cast<double>(item));
      }
      result[name] = std::move(numbers);
    } else {
      result[name] = to_dims(node + ": attribute '" + name + "'", items);
    }
  }
  return result;
}

Dims to_dims(const std::string& what, const py::handle& sizes) {
  if (!is_sequence(sizes)) throw py::type_error(what + " must be a sequence of integers or Dims.");
  Dims dims;
  for (const py::handle& item : items_of(sizes)) {
    if (!is_size(item)) throw py::type_error(what + " must hold integers or Dims only.");
    dims.push_back(to_dim(item));
  }
  return dims;
}

Tensor to_tensor(const std::string& what, const py::handle& value) {
  if (!py::isinstance<py::array>(value)) throw py::type_error(what + " must be a numpy array.");
  const auto dense = py::array::ensure(value, py::array::c_style);
  for (const DType type : kDTypes) {
    if (type == DType::byte) continue;  // a tensor of bytes is uint8
    if (!dense.dtype().equal(py::dtype(dtype_name(type)))) continue;
    return Tensor::copy_of(type, {dense.shape(), dense.shape() + dense.ndim()}, dense.data());
  }
  throw py::type_error(what + " must be float32, uint8, int8, int32, int64 or bool, not " +
                       py::cast<std::string>(py::str(dense.dtype())) + ".");
}

Tensors to_tensors(const std::string& node, const py::dict& tensors) {
  Tensors result;
  for (const auto& [key, value] : tensors) {
    const auto name = py::cast<std::string>(key);
    result[name] = to_tensor(node + ": tensor '" + name + "'", value);
  }
  return result;
}

py::array from_tensor(const Tensor& tensor) {
  const Tensor data = tensor.unpacked();
  return py::array(py::dtype(dtype_name(tensor.dtype())), tensor.shape(), data.data());
}

DType to_dtype(const std::string& name) {
  for (const DType type : kDTypes)
    if (name == dtype_name(type)) return type;
  throw py::value_error("There is no type '" + name + "'; take float32, int64, int32, bool, byte or int8.");
}

std::optional<Quantization> to_quantization(const std::string& node, const py::handle& pair) {
  if (pair.is_none()) return std::nullopt;
  if (!is_sequence(pair) || py::len(pair) != 2)
    throw py::type_error(node + ": a quantization must be (scale, zero point) or None.");
  const auto items = py::reinterpret_borrow<py::sequence>(pair);
  return Quantization{static_cast<float>(py::cast<double>(items[0])), py::cast<int32_t>(items[1])};
}

py::list from_dims(const Dims& dims, const std::vector<std::string>& names) {
  py::list result;
  for (const Dim& dim : dims) result.append(from_dim(dim, names));
  return result;
}

py::list trees_of(const Dims& dims) {
  py::list result;
  for (const Dim& dim : dims) result.append(tree_of(dim));
  return result;
}

py::dict from_attributes(const Attributes& attributes, const std::vector<std::string>& names) {
  return described(attributes, [&](const Dims& dims) { return from_dims(dims, names); });
}

py::dict trees_of(const Attributes& attributes) {
  return described(attributes, [](const Dims& dims) { return trees_of(dims); });
}

py::tuple from_sizes(const std::vector<int64_t>& sizes) {
  py::tuple result(sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) result[i] = sizes[i];
  return result;
}

}  // namespace niwaki::python
