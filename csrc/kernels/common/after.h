// What a layer does to its bytes right after it has made them, a tile or some rows at a time, while they are in the L1 cache: a table, or a
// ReLU with a slope below zero. A pass of its own over the whole activation would read and write it once more.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/layout.h"

namespace niwaki {

class After {
 public:
  virtual ~After() = default;

  // In place, exactly `bytes` bytes, whole pixels, of each of `groups` groups of channels from `group` on, which lie `stride` apart.
  virtual void run(uint8_t* data, int64_t stride, int64_t bytes, int64_t group, int64_t groups) const = 0;

  virtual const char* kernel() const = 0;
  virtual int64_t bytes() const = 0;  // of its constants
};

// The same for a layer that makes some of the channels: its group 0 is `group` of those that `after` knows. By default, nothing is done.
struct AfterFrom {
  const After* after = nullptr;
  int64_t group = 0;

  // Of outputs [first, first + outputs) at `pixels` pixels from `pixel` on; what lies past the last of either is left out.
  void operator()(const Planes& out, int64_t first, int64_t outputs, int64_t pixel, int64_t pixels) const {
    if (after == nullptr) return;
    pixels = std::min(pixels, out.pixels() - pixel);
    const int64_t from = first / 4, to = std::min<int64_t>((first + outputs + 3) / 4, out.groups());
    after->run(out.group(from) + pixel * 4, out.group_stride, pixels * 4, group + from, to - from);
  }
};

}  // namespace niwaki
