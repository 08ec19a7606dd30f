// What the tests of the kernels share: activations with random or extreme values, reading one element, comparing, and the rows
// that this machine can run.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/arch.h"
#include "base/memory.h"
#include "kernels/layout.h"
#include "testing/test.h"

namespace niwaki::testing {

// An activation that owns its memory. A guard behind the last group shows writes past the end.
struct Activation {
  static constexpr std::size_t kGuard = 256;
  Buffer buffer;
  Planes planes{};

  Activation(int32_t images, int32_t channels, int32_t height, int32_t width, uint8_t fill = 0xa5) {
    planes = {nullptr, 0, images, channels, height, width};
    planes.group_stride = group_stride_of(planes.pixels());
    const auto bytes = static_cast<std::size_t>(planes_bytes(planes.pixels(), channels));
    buffer = Buffer(bytes + kGuard);
    planes.data = buffer.data();
    std::memset(buffer.data(), fill, bytes);
    std::memset(buffer.data() + bytes, 0x5a, kGuard);
  }

  std::size_t bytes() const { return buffer.size() - kGuard; }

  // Every byte, the unused ones too; `extreme` takes only the ends of the range.
  Activation& randomize(Random& random, bool extreme = false) {
    for (std::size_t i = 0; i < bytes(); ++i)
      buffer.data()[i] = static_cast<uint8_t>(extreme ? (random.next() & 1 ? 255 : 0) : random.integer(0, 255));
    return *this;
  }

  bool guard_intact() const {
    for (std::size_t i = bytes(); i < buffer.size(); ++i)
      if (buffer.data()[i] != 0x5a) return false;
    return true;
  }

  uint8_t& at(int64_t image, int64_t channel, int64_t y, int64_t x) const {
    return planes.group(channel / 4)[((image * planes.height + y) * planes.width + x) * 4 + channel % 4];
  }

  // function(image, channel, y, x) for every element.
  template <typename Function>
  void each(const Function& function) const {
    for (int64_t n = 0; n < planes.images; ++n)
      for (int64_t c = 0; c < planes.channels; ++c)
        for (int64_t y = 0; y < planes.height; ++y)
          for (int64_t x = 0; x < planes.width; ++x) function(n, c, y, x);
  }
};

inline void check_same(const Activation& found, const Activation& wanted, const std::string& what) {
  int64_t wrong = 0;
  found.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
    if (found.at(n, c, y, x) == wanted.at(n, c, y, x)) return;
    if (++wrong > 1) return;
    std::ostringstream message;
    message << what << ": at [" << n << ", " << c << ", " << y << ", " << x << "] " << +found.at(n, c, y, x) << " instead of "
            << +wanted.at(n, c, y, x);
    fail(__FILE__, __LINE__, message.str());
  });
  if (!found.guard_intact()) fail(__FILE__, __LINE__, what + ": wrote behind the last group");
}

template <typename Kernel>
std::vector<const Kernel*> runnable(std::span<const Kernel> rows) {
  std::vector<const Kernel*> found;
  for (const Kernel& row : rows)
    if (std::ranges::find(supported_isas(), row.isa) != supported_isas().end()) found.push_back(&row);
  return found;
}

// The reference is the first row and what `scalar` gets; every supported set gets a row that it includes, and its own if there
// is one.
template <typename Kernel>
void check_selection(std::span<const Kernel> rows, const Kernel& (*select)(Isa)) {
  CHECK(rows.front().isa == Isa::scalar);
  CHECK(select(Isa::scalar).isa == Isa::scalar);
  for (const Isa isa : supported_isas()) {
    CHECK(isa_includes(isa, select(isa).isa));
    for (const Kernel& row : rows)
      if (row.isa == isa) CHECK(select(isa).isa == isa);
  }
}

// Rounding and clamping as docs/architecture.md has it, in double and written another way than the kernels': t is exact in a
// double.
inline uint8_t naive_finish(float t, int32_t zero, int32_t low, int32_t high) {
  const double bounded = std::max<double>(low - zero, std::min<double>(high - zero, static_cast<double>(t)));
  double rounded = std::floor(bounded + 0.5);
  if (rounded - bounded == 0.5 && std::fmod(rounded, 2.0) != 0.0) rounded -= 1.0;
  return static_cast<uint8_t>(rounded + zero);
}

}  // namespace niwaki::testing
