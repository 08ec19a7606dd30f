// Products of a convolution, one after the other in plain C++: what the other kernels must equal.
#include "kernels/common/lanes16.h"
#include "kernels/convolution/params.h"

namespace niwaki::convolution_scalar {

void multiply(const PanelProduct& p) {
  for (int64_t c = 0; c < p.channels; ++c) {
    const float* weights = p.weights + c / p.width * p.block_floats + c % p.width;
    for (int64_t row = 0; row < p.rows; ++row)
      add_products(weights[row * p.width], p.panel + row * p.row_floats, p.sums + c * p.row_floats, p.pixels);
  }
}

void multiply_taps(const TapProduct& p) {
  for (int64_t x = 0; x < p.count; ++x) p.out[x] = p.bias;
  for (int64_t k = 0; k < p.tap_count; ++k) add_products(p.weights[k], p.taps[k], p.out, p.count);
}

}  // namespace niwaki::convolution_scalar
