// How values lie in memory: row-major, or, of the operators that compute in uint8, grouped over one axis (kernels/layout.h).
//
// A convolution wants its values grouped over axis 1, a linear layer over the last one, others take any axis. Tokens [N, T, C] grouped over
// C are the same bytes as an image [N, C, H, W] of N * T pixels grouped over C, so most reshapes and permutations between the two are
// views. Where a value's maker and its reader want different axes, a permutation that moves nothing is inserted, which copies.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/fuse.h"
#include "graph/graph.h"
#include "kernels/layout.h"

namespace niwaki {

inline constexpr int kRowMajor = -1;

struct LaidOut {
  FusedGraph fused;       // with the permutations; values keep their numbers, new ones follow
  std::vector<int> axes;  // of each value: the one over which it is grouped, or kRowMajor
};

LaidOut lay_out(FusedGraph fused);

// images: the dims before the axis; channels: the axis; height x width: those after it, the width being the last of them. data is null;
// all zero for a value that is row-major. Throws Error (invalid_argument) for more than 2^31 - 1 pixels.
Planes planes_of(const Sizes& shape, int axis);

}  // namespace niwaki
