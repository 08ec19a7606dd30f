// Between numpy arrays, Python containers and the core's types.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "graph/graph.h"

namespace niwaki::python {

namespace py = pybind11;

// {"stride": 2, "padding": [1, 1, 1, 1]} -> Attributes. Bools count as 0 and 1. TypeError, naming the node, for anything else.
Attributes to_attributes(const std::string& node, const py::dict& attributes);

// Copies the arrays. TypeError, naming the node, for what is no array of uint8, int8, int32 or float32.
Tensors to_tensors(const std::string& node, const py::dict& tensors);

py::dict from_attributes(const Attributes& attributes);
py::tuple from_sizes(const std::vector<int64_t>& sizes);

}  // namespace niwaki::python
