// The graph section of a file, made into a graph.
#pragma once

#include <vector>

#include "file/words.h"
#include "graph/graph.h"

namespace niwaki {

// `in`: the whole section, from its strings on, of format `version`. Each of the tensors is used exactly once, or the file is refused.
// Throws Error(invalid_argument), from the graph, for a network that is not valid.
Graph read_graph(WordReader& in, uint32_t version, std::vector<Tensor> tensors);

}  // namespace niwaki
