// Copies between places that lie apart by regular steps. Permutations, broadcasts, slices, flips and repetitions are one such copy;
// concatenations and rolls are a few.
#pragma once

#include <array>
#include <cstdint>

#include "base/thread_pool.h"

namespace niwaki {

// All offsets and steps are bytes. A step of 0 reads the same element again; a negative one goes backwards.
class StridedCopy {
 public:
  struct Axis {
    int64_t size, from, to;  // from: of the source, to: of the destination
  };
  // A repetition of a value of rank 8 has two axes for each of its own.
  static constexpr int kMaxAxes = 16;

  // element: bytes of one element.
  explicit StridedCopy(int64_t element, int64_t from = 0, int64_t to = 0) : from_(from), to_(to), run_(element) {}

  // Axes are added from the outermost to the innermost one.
  void add(const Axis& axis);
  // Joins axes and elements that lie together, so that few long runs are copied. To be called once all axes are there.
  void simplify();

  bool empty() const { return empty_; }
  // True where source and destination differ by one offset alone: the copy of a block.
  bool is_block() const { return empty_ || count_ == 0; }
  int64_t from() const { return from_; }  // where the first element lies
  int64_t to() const { return to_; }
  int64_t bytes() const;  // that are written
  void run(const void* source, void* destination, ThreadPool& pool) const;

 private:
  void run_part(const uint8_t* source, uint8_t* destination) const;
  bool transposes() const;

  std::array<Axis, kMaxAxes> axes_;
  int count_ = 0;
  bool empty_ = false;
  int64_t from_, to_;
  int64_t run_;  // bytes that are copied as one
};

}  // namespace niwaki
