// Graphs, models and operators as lists of dicts.
#pragma once

#include <pybind11/pybind11.h>

#include "file/file.h"
#include "graph/graph.h"
#include "runtime/model.h"

namespace niwaki::python {

namespace py = pybind11;

// `info`: of the file that the graph was read from, or null.
py::list describe_nodes(const Graph& graph, const FileInfo::Places* places);
py::list describe_ports(const Graph& graph, const std::vector<Port>& ports);
py::list describe_sizes(const Graph& graph);
py::list describe_guards(const Graph& graph);
py::list describe_states(const Graph& graph);
py::list describe_steps(const Model& model);
py::list describe_operators();

std::string hexadecimal(uint32_t checksum);

}  // namespace niwaki::python
