#include "base/memory.h"

#include <cstdlib>
#include <string>
#ifdef _WIN32
#include <malloc.h>
#elif defined(__linux__)
#include <sys/mman.h>
#endif

#include "base/status.h"

namespace niwaki {
namespace {

void* system_allocate(void*, std::size_t bytes, std::size_t alignment) {
#ifdef _WIN32
  return _aligned_malloc(bytes, alignment);
#elif defined(__linux__)
  // Kernels walk planes that are pages apart: whole huge pages, where the system lends them on request, save most of the TLB misses.
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  if (bytes < kHugePage / 4 * 3) return std::aligned_alloc(alignment, bytes);
  void* memory = std::aligned_alloc(kHugePage, (bytes + kHugePage - 1) / kHugePage * kHugePage);
  const std::size_t covered = (bytes + kHugePage / 4) / kHugePage * kHugePage;  // pages that are used for three quarters or more
  if (memory != nullptr) (void)madvise(memory, covered, MADV_HUGEPAGE);         // a refusal costs nothing
  return memory;
#else
  return std::aligned_alloc(alignment, bytes);
#endif
}

void system_release(void*, void* memory, std::size_t) {
#ifdef _WIN32
  _aligned_free(memory);
#else
  std::free(memory);
#endif
}

constexpr Allocator kSystem{system_allocate, system_release, nullptr};
thread_local constinit Allocator current = kSystem;

alignas(kCacheLine) uint8_t nothing[kCacheLine];  // the memory of buffers of no bytes

}  // namespace

const Allocator& system_allocator() { return kSystem; }
Allocator current_allocator() { return current; }

AllocatorScope::AllocatorScope(const Allocator& allocator) : before_(current) { current = allocator; }
AllocatorScope::~AllocatorScope() { current = before_; }

Buffer::Buffer(std::size_t bytes) {
  if (bytes == 0) {  // not null: what walks over nothing may add to its address, and hand it to memset
    data_ = {nothing, Free{[](void*, void*, std::size_t) {}, nullptr, 0}};
    return;
  }
  const Allocator& from = current;
  void* data = nullptr;
  std::size_t whole_lines = 0;
  if (bytes <= PTRDIFF_MAX - kCacheLine) {
    whole_lines = (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
    data = from.allocate(from.user, whole_lines, kCacheLine);
  }
  if (data == nullptr)
    throw Error(Status::out_of_memory, "Not enough memory: " + std::to_string(bytes) + " bytes were asked for.");
  data_ = {static_cast<uint8_t*>(data), Free{from.release, from.user, whole_lines}};
  if (reinterpret_cast<std::uintptr_t>(data) % kCacheLine != 0)
    throw Error(Status::invalid_argument,
                "The allocator returned memory that is not aligned to " + std::to_string(kCacheLine) + " bytes.");
  size_ = bytes;
}

void Buffer::Free::operator()(uint8_t* data) const { release(user, data, bytes); }

}  // namespace niwaki
