// Pooling in plain C++: what the other kernels must equal.
#include "kernels/common/scalar.h"
#include "kernels/pool/params.h"
#include "kernels/pool/window.h"

namespace niwaki::pool_scalar {

void max(const PoolGroup& group, const PoolParams& params) {
  uint8_t* out = group.out + group.row_begin * group.out_width * 4;
  for (int64_t r = group.row_begin; r < group.row_end; ++r) {
    const uint8_t* in = group.in + r / group.out_height * group.in_height * group.in_width * 4;
    const auto y = r % group.out_height;
    for (int64_t x = 0; x < group.out_width; ++x, out += 4) {
      for (int c = 0; c < 4; ++c) {
        uint8_t highest = 0;
        for (int32_t ky = 0; ky < params.kernel_h; ++ky) {
          for (int32_t kx = 0; kx < params.kernel_w; ++kx) {
            const int64_t in_y = y * params.stride_h - params.pad_top + int64_t{ky} * params.dilation_h;
            const int64_t in_x = x * params.stride_w - params.pad_left + int64_t{kx} * params.dilation_w;
            if (in_y < 0 || in_y >= group.in_height || in_x < 0 || in_x >= group.in_width) continue;
            const uint8_t q = in[(in_y * group.in_width + in_x) * 4 + c];
            if (q > highest) highest = q;
          }
        }
        out[c] = highest;
      }
    }
  }
}

namespace {

void average_window(const uint8_t* in, int64_t in_width, const PoolSpan& rows, const PoolSpan& columns, float divisor,
                    uint8_t* out, const PoolParams& params) {
  const float scale = params.scale / divisor;
  for (int c = 0; c < 4; ++c) {
    int32_t sum = -static_cast<int32_t>((rows.end - rows.begin) * (columns.end - columns.begin)) * params.in_zero;
    for (int64_t y = rows.begin; y < rows.end; ++y)
      for (int64_t x = columns.begin; x < columns.end; ++x) sum += in[(y * in_width + x) * 4 + c];
    out[c] = finish_scalar(static_cast<float>(sum) * scale, params.out_zero, params.low, params.high);
  }
}

}  // namespace

void average(const PoolGroup& group, const PoolParams& params) {
  uint8_t* out = group.out + group.row_begin * group.out_width * 4;
  for (int64_t r = group.row_begin; r < group.row_end; ++r) {
    const uint8_t* in = group.in + r / group.out_height * group.in_height * group.in_width * 4;
    const auto y = static_cast<int32_t>(r % group.out_height);
    const PoolSpan rows = average_rows(group, params, y);
    for (int32_t x = 0; x < group.out_width; ++x, out += 4) {
      const PoolSpan columns = average_columns(group, params, x);
      average_window(in, group.in_width, rows, columns, average_divisor(params, rows, columns), out, params);
    }
  }
}

void adaptive(const PoolGroup& group, const PoolParams& params) {
  uint8_t* out = group.out + group.row_begin * group.out_width * 4;
  for (int64_t r = group.row_begin; r < group.row_end; ++r) {
    const uint8_t* in = group.in + r / group.out_height * group.in_height * group.in_width * 4;
    const auto y = static_cast<int32_t>(r % group.out_height);
    const PoolSpan rows = adaptive_span(y, group.in_height, group.out_height);
    for (int32_t x = 0; x < group.out_width; ++x, out += 4) {
      const PoolSpan columns = adaptive_span(x, group.in_width, group.out_width);
      average_window(in, group.in_width, rows, columns, static_cast<float>(rows.counted * columns.counted), out, params);
    }
  }
}

}  // namespace niwaki::pool_scalar
