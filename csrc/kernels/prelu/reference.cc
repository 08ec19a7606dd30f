// A ReLU with slopes below zero, in plain C++: what the other kernels must equal.
#include "kernels/common/scalar.h"
#include "kernels/prelu/params.h"

namespace niwaki::prelu_scalar {

void run(const uint8_t* in, uint8_t* out, int64_t bytes, const float* factors, const PreluParams& params) {
  for (int64_t i = 0; i < bytes; ++i) {
    const int32_t x = in[i] - params.in_zero;
    out[i] =
        finish_scalar(static_cast<float>(x) * (x > 0 ? params.scale : factors[i % 4]), params.out_zero, params.low, params.high);
  }
}

}  // namespace niwaki::prelu_scalar
