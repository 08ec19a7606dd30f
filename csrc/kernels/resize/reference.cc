// Resizing in plain C++: what the other kernels must equal.
#include "kernels/common/scalar.h"
#include "kernels/resize/params.h"

namespace niwaki::resize_scalar {
namespace {

constexpr int kDropped = kWeightBits - kWordBits;

int32_t weight_of(int32_t pair, int64_t tap) { return static_cast<int16_t>(tap % 2 == 0 ? pair & 0xffff : pair >> 16); }

}  // namespace

void columns(const ResizeColumns& params) {
  auto* words = reinterpret_cast<int16_t*>(params.words);
  for (int64_t x = 0; x < params.count; ++x) {
    for (int64_t c = 0; c < 4; ++c) {
      int32_t sum = 1 << (kDropped - 1);
      for (int64_t t = 0; t < 2 * params.pairs; ++t)
        sum += weight_of(params.weights[t / 2 * params.count + x], t) *
               params.in[int64_t{params.indices[t * params.count + x]} * 4 + c];
      words[x * 4 + c] = static_cast<int16_t>(sum >> kDropped);
    }
  }
}

void rows(const ResizeRows& params) {
  for (int64_t i = 0; i < params.count * 4; ++i) {
    int32_t sum = -(params.in_zero << (kWeightBits + kWordBits));
    for (int64_t t = 0; t < 2 * params.pairs; ++t)
      sum += weight_of(params.weights[t / 2], t) * reinterpret_cast<const int16_t*>(params.words[t])[i];
    params.out[i] = finish_scalar(static_cast<float>(sum) * params.scale, params.out_zero, 0, 255);
  }
}

void take(const ResizeTake& params) {
  for (int64_t x = 0; x < params.count; ++x)
    for (int64_t c = 0; c < 4; ++c) params.out[x * 4 + c] = params.in[int64_t{params.indices[x]} * 4 + c];
}

}  // namespace niwaki::resize_scalar
