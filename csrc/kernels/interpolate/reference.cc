// Interpolation in plain C++: what the other kernels must equal.
#include "kernels/interpolate/params.h"

namespace niwaki::interpolate_scalar {

void gather_row(const GatherRow& row) {
  for (int64_t x = 0; x < row.count; ++x) {
    float sum = row.weights[x] * row.in[row.indices[x]];
    for (int64_t i = x + row.count; i < row.taps * row.count; i += row.count) sum += row.weights[i] * row.in[row.indices[i]];
    row.out[x] = sum;
  }
}

void blend_rows(const BlendRows& blend) {
  for (int64_t x = 0; x < blend.count; ++x) {
    float sum = blend.weights[0] * blend.rows[0][x];
    for (int64_t t = 1; t < blend.taps; ++t) sum += blend.weights[t] * blend.rows[t][x];
    blend.out[x] = sum;
  }
}

}  // namespace niwaki::interpolate_scalar
