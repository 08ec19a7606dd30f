// Pools of floats, in plain C++: what the other kernels must equal.
#include <cmath>

#include "kernels/float_pool/params.h"

namespace niwaki::float_pool_scalar {

static float larger(float so_far, float next) { return next > so_far || std::isnan(next) ? next : so_far; }
static float sum(float so_far, float next) { return so_far + next; }

void max_row(const TapRow& row) {
  for (int64_t x = 0; x < row.count; ++x) {
    float v = -INFINITY;
    for (int64_t k = 0; k < row.tap_count; ++k) v = larger(v, row.taps[k][x]);
    row.out[x] = v;
  }
}

void average_row(const TapRow& row) {
  for (int64_t x = 0; x < row.count; ++x) {
    float v = 0.0f;
    for (int64_t k = 0; k < row.tap_count; ++k) v += row.taps[k][x];
    row.out[x] = v / row.divisors[x];
  }
}

static float over_region(const Region& region, float begin, float (*add)(float, float)) {
  float lanes[16];
  for (float& lane : lanes) lane = begin;
  for (int64_t z = 0; z < region.depth; ++z)
    for (int64_t y = 0; y < region.height; ++y)
      for (int64_t x = 0; x < region.width; ++x)
        lanes[x % 16] = add(lanes[x % 16], region.first[z * region.plane_floats + y * region.row_floats + x]);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] = add(lanes[i + half], lanes[i]);
  return lanes[0];
}

float max_region(const Region& region) { return over_region(region, -INFINITY, larger); }
float sum_region(const Region& region) { return over_region(region, 0.0f, sum); }

}  // namespace niwaki::float_pool_scalar
