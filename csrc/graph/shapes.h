// Shapes of a graph's values for given sizes of its inputs.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

// Lives no longer than the graph.
struct Inferred {
  Sizes sizes;                // of the free sizes
  std::vector<Sizes> shapes;  // one for each value of the graph
  std::vector<const Attributes*>
      attributes;  // of each node, expressions replaced by their values: the node's own, or one of `replaced`
  std::deque<Attributes> replaced;

  Inferred() = default;
  Inferred(Inferred&&) = default;  // a deque that moves leaves its elements where they are
  Inferred& operator=(Inferred&&) = default;
};

// `inputs`: the sizes of each input in order. Throws Error (invalid_argument), in a sentence that names the input, the dim and what is
// allowed, or the layer, for sizes that the network cannot take: another rank or constant, a size outside of its range, a guard that does
// not hold, more than 2^31 - 1 elements along a dim, more than 2^40 elements of a value, with a size of 0 counted as 1.
Inferred infer_shapes(const Graph& graph, std::span<const Sizes> inputs);

// Whether these free sizes meet a guard. Sizes that it cannot be computed for do not.
bool holds(const Guard& guard, std::span<const int64_t> sizes);

// Whether the images (axis 0) of a run with these shapes may go through the network some at a time: every input and output has the same
// number of them, and every operator is batch_local.
bool is_batch_local(const Graph& graph, const Inferred& inferred);

// Of each value, whether its axis 0 are the images: those that follow from the inputs, and what is repeated for each of them, as a class
// token is. Nothing for a run that is not batch-local.
std::optional<std::vector<bool>> batched_values(const Graph& graph, const Inferred& inferred);

int64_t elements_of(const Sizes& shape);

// Multiply-accumulates of a node, zeros counted in; 0 where it has none.
int64_t count_macs(const Node& node, std::span<const Sizes> in, std::span<const Sizes> out);

}  // namespace niwaki
