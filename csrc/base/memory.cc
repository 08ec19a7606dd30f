#include "base/memory.h"

#include <cstdlib>
#include <string>
#ifdef _MSC_VER
#include <malloc.h>
#endif

#include "base/status.h"

namespace niwaki {

Buffer::Buffer(std::size_t bytes) {
  if (bytes == 0) return;
  void* data = nullptr;
  if (bytes <= PTRDIFF_MAX - kCacheLine) {
    const std::size_t whole_lines = (bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
#ifdef _MSC_VER
    data = _aligned_malloc(whole_lines, kCacheLine);
#else
    data = std::aligned_alloc(kCacheLine, whole_lines);
#endif
  }
  if (data == nullptr)
    throw Error(Status::out_of_memory, "Not enough memory: " + std::to_string(bytes) + " bytes were asked for.");
  data_.reset(static_cast<uint8_t*>(data));
  size_ = bytes;
}

void Buffer::Free::operator()(uint8_t* data) const {
#ifdef _MSC_VER
  _aligned_free(data);
#else
  std::free(data);
#endif
}

}  // namespace niwaki
