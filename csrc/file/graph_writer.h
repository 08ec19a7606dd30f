// The graph section of a file, of the version that format.h names.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

// `tensors` gets the graph's tensors in the order of their rows in the tensor table.
std::vector<uint8_t> write_graph(const Graph& graph, std::vector<Tensor>& tensors);

}  // namespace niwaki
