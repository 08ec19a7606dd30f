#include "convert.h"

#include <pybind11/stl.h>

namespace niwaki::python {
namespace {

bool is_integer(const py::handle& value) { return PyIndex_Check(value.ptr()) != 0; }

template <typename T>
Tensor copy_array(DType dtype, const py::array& array) {
  const auto dense = py::array_t<T, py::array::c_style>::ensure(array);
  std::vector<int64_t> shape;
  for (py::ssize_t i = 0; i < dense.ndim(); ++i) shape.push_back(dense.shape(i));
  return Tensor::copy_of(dtype, std::move(shape), dense.data());
}

}  // namespace

Attributes to_attributes(const std::string& node, const py::dict& attributes) {
  Attributes result;
  for (const auto& [key, value] : attributes) {
    const auto name = py::cast<std::string>(key);
    auto& integers = result[name];
    if (is_integer(value)) {
      integers.push_back(py::cast<int64_t>(value));
      continue;
    }
    if (!py::isinstance<py::sequence>(value) || py::isinstance<py::str>(value))
      throw py::type_error(node + ": attribute '" + name + "' must be an integer or a sequence of integers.");
    for (const auto& item : py::reinterpret_borrow<py::sequence>(value)) {
      if (!is_integer(item)) throw py::type_error(node + ": attribute '" + name + "' must hold integers only.");
      integers.push_back(py::cast<int64_t>(item));
    }
  }
  return result;
}

Tensors to_tensors(const std::string& node, const py::dict& tensors) {
  Tensors result;
  for (const auto& [key, value] : tensors) {
    const auto name = py::cast<std::string>(key);
    if (!py::isinstance<py::array>(value)) throw py::type_error(node + ": tensor '" + name + "' must be a numpy array.");
    const auto array = py::reinterpret_borrow<py::array>(value);
    if (py::isinstance<py::array_t<uint8_t>>(array)) {
      result[name] = copy_array<uint8_t>(DType::u8, array);
    } else if (py::isinstance<py::array_t<int8_t>>(array)) {
      result[name] = copy_array<int8_t>(DType::i8, array);
    } else if (py::isinstance<py::array_t<int32_t>>(array)) {
      result[name] = copy_array<int32_t>(DType::i32, array);
    } else if (py::isinstance<py::array_t<float>>(array)) {
      result[name] = copy_array<float>(DType::f32, array);
    } else {
      throw py::type_error(node + ": tensor '" + name + "' must be uint8, int8, int32 or float32, not " +
                           py::cast<std::string>(py::str(array.dtype())) + ".");
    }
  }
  return result;
}

py::dict from_attributes(const Attributes& attributes) {
  py::dict result;
  for (const auto& [name, integers] : attributes) result[py::str(name)] = py::cast(integers);
  return result;
}

py::tuple from_sizes(const std::vector<int64_t>& sizes) {
  py::tuple result(sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) result[i] = sizes[i];
  return result;
}

}  // namespace niwaki::python
