// Where the values of a network lie for given input shapes. Values share memory when they are not needed at the same time, an
// operator may write over its input, a view lies in what it is a view of, and parts of a concatenation are written where they
// end up.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "graph/shapes.h"
#include "kernels/layout.h"
#include "runtime/model.h"
#include "runtime/segments.h"

namespace niwaki {

struct Plan {
  std::vector<Shape> shapes;      // of each value
  std::vector<Segment> segments;  // all steps, in order
  std::vector<bool> whole;        // of each value: it passes from one segment to another, so its planes hold all images
  std::vector<Planes> planes;     // of each value, for the images of its segment or all; data is null
  std::vector<int64_t> offsets;   // of each uint8 value in the arena, bytes; -1 for others
  std::vector<bool> skipped;      // of each step: nothing to run
  std::vector<int64_t> macs;      // of each step
  int64_t arena_bytes = 0;        // the scratch of the threads comes first
};

Planes planes_of(const Shape& shape);  // data is null

// Throws Error, naming the layer, for shapes that the network cannot take. `choose`: how many images at a time; at most all.
using ChooseSegments = std::function<decltype(choose_segments)>;
Plan make_plan(const Model& model, std::span<const std::vector<int64_t>> inputs, int threads,
               const ChooseSegments& choose = choose_segments);

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
