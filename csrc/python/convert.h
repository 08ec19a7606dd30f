// Between numpy arrays, Python containers and the core's types.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace niwaki::python {

namespace py = pybind11;

// {"stride": 2, "size": [height // 2, 7], "mode": "constant"} -> Attributes, as the operator's rule has their kinds. Bools count as 0 and 1.
// TypeError, naming the node, for anything else.
Attributes to_attributes(const std::string& op, const std::string& node, const py::dict& attributes);

// Copies the arrays. TypeError, naming what they belong to, for what is no array of a type that the core has.
Tensor to_tensor(const std::string& what, const py::handle& array);
Tensors to_tensors(const std::string& node, const py::dict& tensors);
py::array from_tensor(const Tensor& tensor);

DType to_dtype(const std::string& name);  // ValueError for an unknown one

Dims to_dims(const std::string& what, const py::handle& sizes);

std::optional<Quantization> to_quantization(const std::string& node, const py::handle& pair);  // (scale, zero point) or None

// Expressions become text.
py::dict from_attributes(const Attributes& attributes, const std::vector<std::string>& names);
// Expressions become trees: see tree_of.
py::list trees_of(const Dims& dims);
py::dict trees_of(const Attributes& attributes);
py::tuple from_sizes(const std::vector<int64_t>& sizes);
py::list from_dims(const Dims& dims, const std::vector<std::string>& names);

}  // namespace niwaki::python
