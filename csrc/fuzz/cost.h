// What a plan and a run would take, before they are tried.
#pragma once

#include <span>

#include "graph/graph.h"

namespace niwaki::fuzz {

// Whether planning for inputs of these sizes is: interpolation has a table of each row and column of its output, and products of matrices
// have one of each pair of them. That takes its time, and is right to. Throws as affordable does.
bool plannable(const Graph& graph, std::span<const Sizes> inputs);

// Whether a run with inputs of these sizes is small enough for a fuzzer. Throws Error for sizes that the network refuses.
bool affordable(const Graph& graph, std::span<const Sizes> inputs);

}  // namespace niwaki::fuzz
