// The two ends of a network, in plain C++: what the other kernels must equal.
#include "kernels/common/scalar.h"
#include "kernels/quantize/params.h"

namespace niwaki::quantize_scalar {

static void quantize_steps(const float* const in[4], int64_t step, uint8_t* out, int64_t pixels, const QuantizeParams& params) {
  for (int64_t pixel = 0; pixel < pixels; ++pixel)
    for (int c = 0; c < 4; ++c)
      out[pixel * 4 + c] = in[c] ? finish_scalar(in[c][pixel * step] * params.inverse_scale, params.zero, 0, 255)
                                 : static_cast<uint8_t>(params.zero);
}

void quantize(const float* const in[4], uint8_t* out, int64_t pixels, const QuantizeParams& params) {
  quantize_steps(in, 1, out, pixels, params);
}

void quantize_every_second(const float* const in[4], uint8_t* out, int64_t pixels, const QuantizeParams& params) {
  quantize_steps(in, 2, out, pixels, params);
}

void dequantize(const uint8_t* in, float* const out[4], int64_t pixels, const QuantizeParams& params) {
  for (int c = 0; c < 4; ++c) {
    if (!out[c]) continue;
    for (int64_t pixel = 0; pixel < pixels; ++pixel)
      out[c][pixel] = static_cast<float>(in[pixel * 4 + c] - params.zero) * params.scale;
  }
}

void quantize_rows(const float* in, int64_t row_stride, const RowsParams& rows, uint8_t* bytes, const QuantizeParams& params) {
  for (int64_t row = 0; row < rows.rows; ++row)
    for (int64_t c = 0; c < rows.channels; ++c)
      bytes[c / 4 * rows.group_stride + row * 4 + c % 4] =
          finish_scalar(in[row * row_stride + c] * params.inverse_scale, params.zero, 0, 255);
}

void quantize_row(const float* in, int64_t count, uint8_t* bytes, const QuantizeParams& params) {
  for (int64_t i = 0; i < count; ++i) {
    uint8_t four[4];
    quantize_rows(in + i, 1, {1, 1, 4}, four, params);
    bytes[i] = four[0];
  }
}

void quantize_own_rows(const float* in, int64_t row_stride, const RowsParams& rows, uint8_t* bytes,
                       const QuantizeParams* params) {
  const RowsParams one{1, rows.channels, rows.group_stride};
  for (int64_t row = 0; row < rows.rows; ++row)
    quantize_rows(in + row * row_stride, row_stride, one, bytes + row * 4, params[row]);
}

void dequantize_rows(const uint8_t* bytes, const RowsParams& rows, float* out, int64_t row_stride, const QuantizeParams& params) {
  for (int64_t row = 0; row < rows.rows; ++row)
    for (int64_t c = 0; c < rows.channels; ++c)
      out[row * row_stride + c] =
          static_cast<float>(bytes[c / 4 * rows.group_stride + row * 4 + c % 4] - params.zero) * params.scale;
}

}  // namespace niwaki::quantize_scalar
