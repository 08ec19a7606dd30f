// Products of a convolution, one after the other in plain C++: what the other kernels must equal.
#include "kernels/convolution/params.h"

namespace niwaki::convolution_scalar {

void multiply(const PanelProduct& p) {
  for (int64_t c = 0; c < p.channels; ++c) {
    const float* weights = p.weights + c / p.width * p.block_floats + c % p.width;
    float* sums = p.sums + c * p.row_floats;
    for (int64_t row = 0; row < p.rows; ++row)
      for (int64_t pixel = 0; pixel < p.pixels; ++pixel)
        sums[pixel] += weights[row * p.width] * p.panel[row * p.row_floats + pixel];
  }
}

void multiply_taps(const TapProduct& p) {
  for (int64_t x = 0; x < p.count; ++x) {
    float sum = p.bias;
    for (int64_t k = 0; k < p.tap_count; ++k) sum += p.weights[k] * p.taps[k][x];
    p.out[x] = sum;
  }
}

}  // namespace niwaki::convolution_scalar
