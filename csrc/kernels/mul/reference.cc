// Product of two activations, in plain C++: what the other kernels must equal.
#include "kernels/common/scalar.h"
#include "kernels/mul/params.h"

namespace niwaki::mul_scalar {
namespace {

uint8_t product(int32_t a, int32_t b, const MulParams& params) {
  const float t = static_cast<float>((a - params.a_zero) * (b - params.b_zero)) * params.scale;
  return finish_scalar(t, params.out_zero, params.low, params.high);
}

}  // namespace

void same(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const MulParams& params) {
  for (int64_t i = 0; i < bytes; ++i) out[i] = product(a[i], b[i], params);
}

void lane(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t pixels, const MulParams& params) {
  for (int64_t i = 0; i < pixels * 4; ++i) out[i] = product(a[i], b[i % 4], params);
}

}  // namespace niwaki::mul_scalar
