// What the kernels of an interpolation take. Apart from interpolate.h because files of one instruction set include no header with
// code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// out[x] = sum over t of weights[t][x] * in[indices[t][x]], in the order of t. Tables of a tap lie `count` elements apart.
struct GatherRow {
  const float* in;
  const int32_t* indices;
  const float* weights;
  int64_t taps;
  float* out;
  int64_t count;
};

// out[x] = sum over t of weights[t] * rows[t][x], in the order of t.
struct BlendRows {
  const float* const* rows;
  const float* weights;
  int64_t taps;
  float* out;
  int64_t count;
};

}  // namespace niwaki
