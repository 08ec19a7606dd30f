// Memory that starts on a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>

namespace niwaki {

inline constexpr std::size_t kCacheLine = 64;

inline constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
inline constexpr int64_t div_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// Where buffers come from. allocate returns null where there is no memory, else a multiple of `alignment`; release gets what
// allocate returned, on any thread. Neither throws.
struct Allocator {
  void* (*allocate)(void* user, std::size_t bytes, std::size_t alignment);
  void (*release)(void* user, void* memory, std::size_t bytes);
  void* user;
};

const Allocator& system_allocator();
Allocator current_allocator();  // of this thread: that of the innermost AllocatorScope, else the system's

// Buffers that this thread makes in the scope come from `allocator`, which is copied. They know who releases them, so they may
// outlive the scope.
class AllocatorScope {
 public:
  explicit AllocatorScope(const Allocator& allocator);
  ~AllocatorScope();
  AllocatorScope(const AllocatorScope&) = delete;
  AllocatorScope& operator=(const AllocatorScope&) = delete;

 private:
  Allocator before_;
};

// An owned block of bytes, 64-byte aligned, not initialized.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes);  // from the current allocator; throws Error(out_of_memory)

  uint8_t* data() { return data_.get(); }
  const uint8_t* data() const { return data_.get(); }
  std::size_t size() const { return size_; }

  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_.get());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }

 private:
  struct Free {
    void (*release)(void* user, void* memory, std::size_t bytes);
    void* user;
    std::size_t bytes;
    void operator()(uint8_t* data) const;
  };
  std::unique_ptr<uint8_t, Free> data_{nullptr, Free{}};
  std::size_t size_ = 0;
};

// A buffer that several owners may have in common, once nobody writes to it any more.
class SharedBuffer {
 public:
  SharedBuffer() = default;
  explicit SharedBuffer(Buffer buffer) : buffer_(std::make_shared<Buffer>(std::move(buffer))) {}
  explicit SharedBuffer(std::size_t bytes) : SharedBuffer(Buffer(bytes)) {}

  uint8_t* data() { return buffer_ ? buffer_->data() : nullptr; }
  const uint8_t* data() const { return buffer_ ? buffer_->data() : nullptr; }
  std::size_t size() const { return buffer_ ? buffer_->size() : 0; }

  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data());
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data());
  }

  // Takes another's memory in place of its own, if the same bytes stand in both.
  void share(const SharedBuffer& other) {
    if (size() == other.size() && (size() == 0 || std::memcmp(data(), other.data(), size()) == 0)) buffer_ = other.buffer_;
  }

 private:
  std::shared_ptr<Buffer> buffer_;
};

}  // namespace niwaki
