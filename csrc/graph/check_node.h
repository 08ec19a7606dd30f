// Whether a node may be added to a graph: what its operator's rule says, and all that is alike for every operator.
#pragma once

#include <optional>
#include <vector>

#include "graph/operators.h"

namespace niwaki {

// Completes the node's attributes and returns what it makes. Throws Error(invalid_argument) where the operator does not allow it.
std::vector<Operand> check_node(const Graph& graph, Node& node, const std::vector<std::optional<Quantization>>& quantizations);

// Refuses integers beyond what the rule allows, numbers that were expressions as well: of those, -1 has no meaning of its own.
void check_range(const Node& node, const AttributeRule& rule, const Dim& dim, bool computed);

}  // namespace niwaki
