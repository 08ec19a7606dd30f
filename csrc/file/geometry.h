// An int8 weight as [outputs, inputs, taps], its blocks as [outputs, groups, taps]; and the masks over them.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace niwaki {

struct Geometry {
  int64_t outputs, inputs, taps, groups;

  explicit Geometry(std::span<const int64_t> shape) : outputs(shape[0]), inputs(shape[1]), taps(1), groups((shape[1] + 3) / 4) {
    for (size_t i = 2; i < shape.size(); ++i) taps *= shape[i];
  }
  int64_t blocks() const { return outputs * groups * taps; }
  int64_t elements() const { return outputs * inputs * taps; }

  // Calls function(block, first element, channels in it): the elements of a block are `taps` apart.
  template <typename Function>
  void for_each_block(const Function& function) const {
    int64_t block = 0;
    for (int64_t output = 0; output < outputs; ++output)
      for (int64_t group = 0; group < groups; ++group)
        for (int64_t tap = 0; tap < taps; ++tap)
          function(block++, (output * inputs + group * 4) * taps + tap, std::min<int64_t>(4, inputs - group * 4));
  }
};

// Calls function(index) for each bit that is set, in order.
template <typename Function>
void for_each_bit(std::span<const uint8_t> mask, const Function& function) {
  for (size_t byte = 0; byte < mask.size(); ++byte)
    for (unsigned bits = mask[byte]; bits != 0; bits &= bits - 1)
      function(static_cast<int64_t>(byte) * 8 + std::countr_zero(bits));
}

}  // namespace niwaki
