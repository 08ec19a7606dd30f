// An operation behind a layer that shows how often it was done to each byte.
#pragma once

#include <cstdint>

#include "kernels/common/after.h"

namespace niwaki::testing {

// Adds a number that tells the group of channels.
class Counting final : public After {
 public:
  static constexpr uint8_t once(uint8_t byte, int64_t channel) { return static_cast<uint8_t>(byte + 37 + channel / 4 * 3); }
  void run(uint8_t* data, int64_t stride, int64_t bytes, int64_t group, int64_t groups) const override {
    for (const int64_t end = group + groups; group < end; ++group, data += stride)
      for (int64_t i = 0; i < bytes; ++i) data[i] = once(data[i], group * 4);
  }
  const char* kernel() const override { return "counting"; }
  int64_t bytes() const override { return 0; }
};

}  // namespace niwaki::testing
