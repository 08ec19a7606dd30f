// Memory that starts on a cache line.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace niwaki {

inline constexpr std::size_t kCacheLine = 64;

inline constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
inline constexpr int64_t div_up(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }

// An owned block of bytes, 64-byte aligned, not initialized.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes);  // throws Error(out_of_memory)

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
    void operator()(uint8_t* data) const;
  };
  std::unique_ptr<uint8_t, Free> data_;
  std::size_t size_ = 0;
};

}  // namespace niwaki
