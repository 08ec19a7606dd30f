// float32 to quantized planes and back: NCHW, or rows of channels (tokens).
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/quantize/params.h"
#include "kernels/layout.h"

namespace niwaki {

struct QuantizeKernel {
  const char* name;
  Isa isa;
  // Up to four channel planes of floats (channels missing from the last group: nullptr; their bytes become `zero`), `pixels`
  // of each, to `pixels` lanes of four bytes. q = round(clamp(x * inverse_scale)) + zero; NaN becomes 0. `out` is 4-byte aligned and
  // exactly `pixels` lanes are written.
  void (*quantize)(const float* const in[4], uint8_t* out, int64_t pixels, const QuantizeParams& params);
  // The same of the floats 0, 2, 4, ... of each plane; reads none behind the last of them.
  void (*quantize_every_second)(const float* const in[4], uint8_t* out, int64_t pixels, const QuantizeParams& params);
  // The inverse: float(q - zero) * scale into the planes that are not nullptr.
  void (*dequantize)(const uint8_t* in, float* const out[4], int64_t pixels, const QuantizeParams& params);
  // Rows, which are the pixels: the channels of one lie beside each other in the floats, `row_stride` apart from the next row's. `bytes`: the
  // group of the first channel, the first row in it. Exactly the lanes of the rows are written; what channels missing from the last group
  // become means nothing.
  void (*quantize_rows)(const float* in, int64_t row_stride, const RowsParams& rows, uint8_t* bytes,
                        const QuantizeParams& params);
  // The same with params[i] for row i.
  void (*quantize_own_rows)(const float* in, int64_t row_stride, const RowsParams& rows, uint8_t* bytes,
                            const QuantizeParams* params);
  // One row, whose bytes lie beside each other: floats as they come. Exactly `count` bytes are written.
  void (*quantize_row)(const float* in, int64_t count, uint8_t* bytes, const QuantizeParams& params);
  // The inverse. May read whole vectors of 64 bytes, counted from `bytes`, in which a row of the group lies.
  void (*dequantize_rows)(const uint8_t* bytes, const RowsParams& rows, float* out, int64_t row_stride,
                          const QuantizeParams& params);
};

std::span<const QuantizeKernel> quantize_kernels();
const QuantizeKernel& select_quantize(Isa isa);

// `values`: contiguous float32 [images, channels, height, width] of the planes' sizes.
void quantize(const QuantizeKernel& kernel, const float* values, const Planes& out, const QuantizeParams& params,
              ThreadPool& pool);

// Space to depth: `out` has 4 * channels channels and half the height and width, rounded up. `values`: [images, channels, height, width].
// Channel c at (y, x), which belongs to phase 2 * (y % 2) + x % 2, goes to pixel (y / 2, x / 2) of out's channel i where
// order[i] = phase * channels + c; what lies outside of the image is `zero`.
void quantize_phases(const QuantizeKernel& kernel, const float* values, int64_t height, int64_t width, const Planes& out,
                     std::span<const int64_t> order, const QuantizeParams& params, ThreadPool& pool);

void dequantize(const QuantizeKernel& kernel, const Planes& in, float* values, const QuantizeParams& params, ThreadPool& pool);

// `values`: contiguous float32 [images, channels], for planes of single pixels: what quantize and dequantize compute, but fast.
void quantize_rows(const QuantizeKernel& kernel, const float* values, const Planes& out, const QuantizeParams& params,
                   ThreadPool& pool);
void dequantize_rows(const QuantizeKernel& kernel, const Planes& in, float* values, const QuantizeParams& params,
                     ThreadPool& pool);

}  // namespace niwaki
