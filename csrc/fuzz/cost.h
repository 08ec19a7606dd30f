// What a run would take, before it is tried.
#pragma once

#include <span>

#include "graph/graph.h"

namespace niwaki::fuzz {

// Whether a run with inputs of these sizes is small enough for a fuzzer. Throws Error for sizes that the network refuses.
bool affordable(const Graph& graph, std::span<const Sizes> inputs);

}  // namespace niwaki::fuzz
