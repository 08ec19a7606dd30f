// How many images at a time go through each part of a network. The first layers of a convolutional network have large activations and
// few weights: there one image per thread stays in the cache. The last ones have small activations, whose pixels fill vectors only
// together, and many weights, which are then read once for all of them. The blocks of a transformer have as much of both all along.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "graph/shapes.h"
#include "runtime/model.h"

namespace niwaki {

// Steps [begin, end) run over `images` images at a time; the last time over what is left.
struct Segment {
  std::size_t begin, end;
  int64_t images;
};

// A network can be cut before `step`: of what is made before, only `value`, which has the images as axis 0, is needed there or later.
struct Cut {
  std::size_t step;
  int value;
};

// A network whose images go through it one by one, for some of them: what the choice looks at.
struct Batch {
  const Model& model;
  const Inferred& inferred;
  const std::vector<bool>& batched;  // of each value, whether its axis 0 are the images
  const std::vector<int64_t>& macs;  // of each step
  const std::vector<bool>& kept;     // of each value, whether it is there before a run
  int64_t images;
};

// In rising order.
std::vector<Cut> possible_cuts(const Batch& batch);

// Whether a segment that ends with `value` may make it for `images` images at a time: kernels write whole vectors of what is grouped, so
// every time must begin where a vector does.
bool can_be_made_in_parts(const Batch& batch, int value, int64_t images);

// The segments that should take least time for all the images, which go through the network together.
std::vector<Segment> choose_segments(const Batch& batch, int threads);

}  // namespace niwaki
