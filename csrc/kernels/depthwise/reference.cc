// Depthwise convolution in plain C++: what the other kernels must equal.
#include "kernels/common/scalar.h"
#include "kernels/depthwise/params.h"

namespace niwaki::depthwise_scalar {

int64_t packed_bytes(int32_t kernel_h, int32_t kernel_w) { return (int64_t{4} * kernel_h * kernel_w + 63) / 64 * 64; }

void pack(const int8_t* weights, int32_t kernel_h, int32_t kernel_w, void* packed) {
  for (int64_t i = 0; i < int64_t{4} * kernel_h * kernel_w; ++i) static_cast<int8_t*>(packed)[i] = weights[i];
}

void run(const DepthwiseGroup& group, const DepthwiseParams& params) {
  const int8_t* weights = static_cast<const int8_t*>(group.weights);
  for (int64_t row = group.row_begin; row < group.row_end; ++row) {
    const int64_t image = row / group.out_height;
    const int64_t top = row % group.out_height * params.stride_h - params.pad_top;
    for (int64_t x = 0; x < group.out_width; ++x) {
      const int64_t left = x * params.stride_w - params.pad_left;
      for (int c = 0; c < 4; ++c) {
        int32_t sum = group.bias[c];
        for (int32_t ky = 0; ky < params.kernel_h; ++ky) {
          for (int32_t kx = 0; kx < params.kernel_w; ++kx) {
            const int64_t in_y = top + int64_t{ky} * params.dilation_h, in_x = left + int64_t{kx} * params.dilation_w;
            const bool inside = in_y >= 0 && in_y < group.in_height && in_x >= 0 && in_x < group.in_width;
            const int32_t q =
                inside ? group.in[((image * group.in_height + in_y) * group.in_width + in_x) * 4 + c] : params.in_zero;
            sum = wrapping_add(sum, q * weights[(int64_t{c} * params.kernel_h + ky) * params.kernel_w + kx]);
          }
        }
        const float t = static_cast<float>(sum) * group.multiplier[c];
        group.out[(row * group.out_width + x) * 4 + c] = finish_scalar(t, params.out_zero, params.low, params.high);
      }
    }
  }
}

}  // namespace niwaki::depthwise_scalar
