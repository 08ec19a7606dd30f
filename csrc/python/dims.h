// Sizes as Python sees them: expressions that know the names of the free sizes in them.
#pragma once

#include <pybind11/pybind11.h>

#include <memory>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace niwaki::python {

namespace py = pybind11;

struct NamedDim {
  Dim dim;
  std::shared_ptr<const std::vector<std::string>> names;  // of a graph's free sizes; null in a constant

  std::string text() const;
};

void define_dims(py::module_& module);

bool is_size(const py::handle& value);  // an int, or anything that is one by __index__, or a Dim
Dim to_dim(const py::handle& value);    // TypeError for what is none of them

// An int, the text of an expression, or None where it is unknown.
py::object from_dim(const Dim& dim, const std::vector<std::string>& names);

// An int, None where it is unknown, ("size", number of the free size), or ("+", left, right) and so on, with the signs of Python.
py::object tree_of(const Dim& dim);

}  // namespace niwaki::python
