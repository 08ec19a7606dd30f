// Where the values of a network lie for given input shapes. Values share memory when they are not needed at the same time, an
// operator may write over its input, a view lies in what it is a view of, and parts of a concatenation are written where they
// end up.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/shapes.h"
#include "kernels/layout.h"
#include "runtime/model.h"

namespace niwaki {

struct Plan {
  std::vector<Shape> shapes;     // of each value
  std::vector<Planes> planes;    // of each value; data is null
  std::vector<int64_t> offsets;  // of each uint8 value in the arena, bytes; -1 for others
  std::vector<bool> skipped;     // of each step: nothing to run
  std::vector<int64_t> macs;     // of each step
  int64_t arena_bytes = 0;       // the scratch of the threads comes first
};

// Throws Error, naming the layer, for shapes that the network cannot take.
Plan make_plan(const Model& model, std::span<const std::vector<int64_t>> inputs, int threads);

// A block of memory needed from step `first` to step `last`, both included.
struct Block {
  int64_t bytes;
  int first, last;
  int64_t offset = -1;
};

// Gives each block an offset so that no two that are needed at the same time overlap: the largest first, each into the smallest
// gap that holds it. Returns the bytes needed in all. Sizes are multiples of 64.
int64_t place_blocks(std::span<Block> blocks);

}  // namespace niwaki
