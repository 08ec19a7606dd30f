// Chooses the kernels of a network by timing them, where the cost model of pack_conv only estimates.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/arch.h"
#include "graph/graph.h"
#include "runtime/model.h"

namespace niwaki {

// A model in which each convolution and linear layer has the kernel that was the fastest here, for inputs of these sizes on this
// many threads; its reason says what was measured. The candidates run inside the whole network, one after the other: a layer finds
// its input in the cache, where the layer before left it, and its weights where the other layers' weights pushed them, which a loop
// over one layer does not show. Results do not depend on the choice.
// `seconds`: how long to measure, about; each candidate runs a few times at least. Throws Error for sizes that the network cannot
// take, and for an empty batch.
std::unique_ptr<Model> autotune(const Graph& graph, Isa isa, std::span<const Sizes> sizes, int threads, double seconds = 1.0);

}  // namespace niwaki
