// What the C++ heap is asked for: operator new and delete of the whole program, replaced in heap.cc. For tests: how much memory a call
// takes, whether it all comes back, and what happens where there is none.
#pragma once

#include <cstddef>

namespace niwaki::testing {

// Bytes that are held at the moment, and the most that were held since the last reset_peak().
std::size_t heap_live();
std::size_t heap_peak();
void reset_peak();

// In its scope, allocation number n (from 0) of all threads throws bad_alloc: that one, or that one and all after it.
class FailingHeap {
 public:
  enum class Mode { once, from_there_on };
  FailingHeap(long n, Mode mode);
  ~FailingHeap();
  FailingHeap(const FailingHeap&) = delete;
  FailingHeap& operator=(const FailingHeap&) = delete;

  static bool failed();  // whether an allocation of this scope, or of the last one, threw
};

}  // namespace niwaki::testing
