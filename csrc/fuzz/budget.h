// Time and memory of one call.
#pragma once

#include <atomic>
#include <ctime>

#include "base/memory.h"

namespace niwaki::fuzz {

// Of this process: a pause of it does not count.
inline double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// Buffers up to `most` bytes at a time; what goes beyond is refused.
class Budget {
 public:
  explicit Budget(size_t most) : most_(most) {}
  Allocator allocator() { return {allocate, release, this}; }
  size_t live() const { return live_; }
  size_t peak() const { return peak_; }

 private:
  static void* allocate(void* user, size_t bytes, size_t alignment) {
    auto& budget = *static_cast<Budget*>(user);
    const size_t now = budget.live_.fetch_add(bytes) + bytes;
    void* memory = now <= budget.most_ ? system_allocator().allocate(nullptr, bytes, alignment) : nullptr;
    if (memory == nullptr) {
      budget.live_ -= bytes;
    } else if (now > budget.peak_) {
      budget.peak_ = now;
    }
    return memory;
  }
  static void release(void* user, void* memory, size_t bytes) {
    static_cast<Budget*>(user)->live_ -= bytes;
    system_allocator().release(nullptr, memory, bytes);
  }

  size_t most_;
  std::atomic<size_t> live_{0}, peak_{0};
};

}  // namespace niwaki::fuzz
