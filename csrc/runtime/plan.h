// Everything about running a network that follows from the sizes of its inputs: shapes, where values lie, what each step has set up.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "base/memory.h"
#include "runtime/model.h"
#include "runtime/placement.h"
#include "runtime/segments.h"
#include "runtime/sized.h"

namespace niwaki {

// A step to run.
struct Call {
  size_t step;
  SizedStep sized;
  std::unique_ptr<StepSetup> setup;
  int64_t scratch_bytes = 0;  // of each thread, in whole cache lines
};

// The calls of a segment for so many images.
struct Round {
  int64_t images;
  std::vector<Call> calls;
};

struct PlannedSegment {
  Segment segment;
  std::vector<Round> rounds;  // for as many images as the segment takes at a time, and for what is left, if anything is
};

// What lies elsewhere than where it is wanted.
struct Copy {
  int value;
  Place to;
  int64_t bytes;
};

struct Plan {
  Plan(Shapes of, int64_t count) : shapes(std::move(of)), images(count) {}

  Shapes shapes;           // owns the attributes of the calls
  int64_t images;          // that go through the network together; 1 where it runs as a whole
  std::vector<Call> once;  // before the first run, in this order: what follows from the sizes alone. Its results lie in `kept`
  std::vector<PlannedSegment> segments;
  std::vector<Place> places;  // of each value
  std::vector<Copy> copies;   // when all segments have run
  std::vector<bool> skipped;  // of each step: nothing to run
  std::vector<bool> whole;    // of each value: it passes from one segment to another, so its planes hold all images
  std::vector<int64_t> macs;  // of each step
  int64_t arena_bytes = 0;    // the scratch of the threads comes first
  int64_t setup_bytes = 0;    // with those of `kept`
  Buffer kept;
};

// `images`: how many of those of `shapes`. `choose`: how many at a time; at most all.
using ChooseSegments = std::function<decltype(choose_segments)>;
Plan make_plan(const Model& model, Shapes shapes, int64_t images, int threads, const ChooseSegments& choose = choose_segments);

}  // namespace niwaki
