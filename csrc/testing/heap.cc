#include "testing/heap.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace {

std::atomic<std::size_t> live{0}, peak{0};
std::atomic<long> until_failure{-1};  // allocations that still succeed; below 0: no failure is wanted
std::atomic<bool> from_there_on{false}, has_failed{false};

// Before each block: how large it is, and where what malloc gave begins.
struct Head {
  std::size_t bytes;
  void* memory;
};

bool fails() {
  if (until_failure.load(std::memory_order_relaxed) < 0) return false;
  const long left = until_failure.fetch_sub(1, std::memory_order_relaxed);
  if (left > 0) return false;
  if (left < 0 && !from_there_on.load(std::memory_order_relaxed)) return false;
  if (from_there_on.load(std::memory_order_relaxed)) until_failure.store(0, std::memory_order_relaxed);
  has_failed.store(true, std::memory_order_relaxed);
  return true;
}

void* allocate(std::size_t bytes, std::size_t alignment) {
  const std::size_t room = sizeof(Head) + std::max(alignment, alignof(std::max_align_t));
  if (bytes > SIZE_MAX - room || fails()) return nullptr;
  void* memory = std::malloc(bytes + room);
  if (memory == nullptr) return nullptr;
  const auto aligned = (reinterpret_cast<std::uintptr_t>(memory) + room) / alignment * alignment;
  auto* head = reinterpret_cast<Head*>(aligned) - 1;
  *head = {bytes, memory};
  const std::size_t now = live.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  for (std::size_t before = peak.load(std::memory_order_relaxed); before < now;)
    if (peak.compare_exchange_weak(before, now, std::memory_order_relaxed)) break;
  return head + 1;
}

void release(void* block) noexcept {
  if (block == nullptr) return;
  const Head head = *(static_cast<Head*>(block) - 1);
  live.fetch_sub(head.bytes, std::memory_order_relaxed);
  std::free(head.memory);
}

void* allocate_or_throw(std::size_t bytes, std::size_t alignment) {
  void* block = allocate(bytes, alignment);
  if (block == nullptr) throw std::bad_alloc();
  return block;
}

constexpr std::size_t kDefault = alignof(std::max_align_t);

}  // namespace

namespace niwaki::testing {

std::size_t heap_live() { return live.load(); }
std::size_t heap_peak() { return peak.load(); }
void reset_peak() { peak.store(live.load()); }

FailingHeap::FailingHeap(long n, Mode mode) {
  has_failed.store(false);
  from_there_on.store(mode == Mode::from_there_on);
  until_failure.store(n);
}

FailingHeap::~FailingHeap() { until_failure.store(-1); }

bool FailingHeap::failed() { return has_failed.load(); }

}  // namespace niwaki::testing

void* operator new(std::size_t bytes) { return allocate_or_throw(bytes, kDefault); }
void* operator new[](std::size_t bytes) { return allocate_or_throw(bytes, kDefault); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, kDefault); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return allocate(bytes, kDefault); }
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return allocate_or_throw(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* block) noexcept { release(block); }
void operator delete[](void* block) noexcept { release(block); }
void operator delete(void* block, std::size_t) noexcept { release(block); }
void operator delete[](void* block, std::size_t) noexcept { release(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { release(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { release(block); }
void operator delete(void* block, std::align_val_t) noexcept { release(block); }
void operator delete[](void* block, std::align_val_t) noexcept { release(block); }
void operator delete(void* block, std::size_t, std::align_val_t) noexcept { release(block); }
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept { release(block); }
