// What the kernels of float pools take. Apart from float_pool.h because files of one instruction set include no header with
// code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// A row of windows: window x sees taps[k][x] for each k. Reads taps, and divisors, up to `count` rounded up to 16.
struct TapRow {
  const float* const* taps;
  int64_t tap_count;
  const float* divisors;  // of each average
  float* out;
  int64_t count;
};

// One window of an adaptive pool.
struct Region {
  const float* first;
  int64_t depth, height, width;
  int64_t plane_floats, row_floats;  // from one to the next
};

}  // namespace niwaki
