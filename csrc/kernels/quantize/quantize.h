// float32 NCHW to quantized planes and back: the two ends of a network.
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

}  // namespace niwaki
