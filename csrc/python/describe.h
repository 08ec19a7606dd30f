// Graphs, models and operators as lists of dicts.
#pragma once

#include <pybind11/pybind11.h>

#include "file/file.h"
#include "graph/graph.h"
#include "runtime/model.h"

namespace niwaki::python {

namespace py = pybind11;

// `places`: of the file that the graph was read from, or null. trees: expressions in attributes are trees (see tree_of), not text.
py::list describe_nodes(const Graph& graph, const FileInfo::Places* places, bool trees = false);
py::list describe_values(const Graph& graph);
py::list describe_ports(const Graph& graph, const std::vector<Port>& ports);
py::list describe_sizes(const Graph& graph);
py::list describe_guards(const Graph& graph);
py::list describe_states(const Graph& graph);
py::list describe_steps(const Model& model);
py::list describe_operators();

std::string hexadecimal(uint32_t checksum);

}  // namespace niwaki::python
