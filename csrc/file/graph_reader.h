// The graph section of a file, made into graphs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "file/words.h"
#include "graph/entries.h"
#include "graph/graph.h"

namespace niwaki {

// The rows of the tensor table that tensors lie in.
struct TensorRows {
  std::vector<std::map<std::string, uint32_t>> nodes;  // of each node, by name
  std::vector<uint32_t> states;                        // of each state
};

// `in`: the whole section, from its strings on, of format `version`. Each of the tensors is used, and by an entry at most once but by calls of
// one layer, or the file is refused. Throws Error(invalid_argument), from the graph, for a network that is not valid.
// `rows`: where to say, of each entry, which tensor came from where; null where nobody asks.
std::vector<Entry> read_graphs(WordReader& in, uint32_t version, std::vector<Tensor> tensors, std::vector<TensorRows>* rows);

}  // namespace niwaki
