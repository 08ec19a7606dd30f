// Sum, or the larger or smaller, of two activations, in plain C++: what the other kernels must equal.
#include "kernels/add/params.h"
#include "kernels/common/scalar.h"

namespace niwaki::add_scalar {
namespace {

template <typename Join>
void join(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const AddParams& params, const Join& joined) {
  for (int64_t i = 0; i < bytes; ++i) {
    const float left = static_cast<float>(a[i] - params.a_zero) * params.a_scale;
    const float right = static_cast<float>(b[i] - params.b_zero) * params.b_scale;
    out[i] = finish_scalar(joined(left, right), params.out_zero, params.low, params.high);
  }
}

}  // namespace

void run(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const AddParams& params) {
  join(a, b, out, bytes, params, [](float x, float y) { return x + y; });
}

void maximum(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const AddParams& params) {
  join(a, b, out, bytes, params, [](float x, float y) { return x > y ? x : y; });
}

void minimum(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const AddParams& params) {
  join(a, b, out, bytes, params, [](float x, float y) { return x < y ? x : y; });
}

}  // namespace niwaki::add_scalar
