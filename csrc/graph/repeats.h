// Layers that a network calls again and again: a cell in a loop of its own, a decoder's, is a node for each call. Such nodes are alike in all but what
// they read and make, so one of them is packed, and stored, for all.
#pragma once

#include <cstddef>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

// Operators whose step follows from attributes and tensors alone: they know no scales of values.
inline bool may_repeat(Op op) { return op == Op::recurrent || op == Op::dynamic_linear; }

// Whether a node is the same layer as another of its graph: such an operator, the same attributes, and tensors that are the same in memory.
bool repeats(const Node& node, const Node& earlier);

// Whether another node may have this node's weight, beside scales and biases of its own, as calls of one convolution or linear layer whose values have
// other scales. Its packed form is shared, too (Step::share_weights). Not of depthwise layers and of those on few channels, which are packed apart.
bool may_share_weight(const Node& node);

// Whether a node has the weight of another, which may be.
bool shares_weight(const Node& node, const Node& earlier);

// For each node the first one whose weight it has: itself, where there is none.
std::vector<size_t> first_weights(const Graph& graph);

// For each node the first one that it repeats: itself, where there is none.
std::vector<size_t> first_calls(const Graph& graph);

// Whether both have the same type, shape and elements. What is packed is unpacked for it, and not kept.
bool equal(const Tensor& a, const Tensor& b);

// Whether any node has tensors of another.
bool has_repeats(const Graph& graph);

// Gives the last node of a graph the tensors of an earlier node where it is the same layer but for the memory that its tensors lie in, or the weight alone
// where that is all that both have in common.
void share_repeated(Graph& graph);

}  // namespace niwaki
