// Depthwise convolution: each channel has its own kernel (groups = channels = outputs).
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/layout.h"

namespace niwaki {

struct DepthwiseParams {
  int32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
  int32_t in_zero, out_zero, low, high;
};

// One group of four channels, output rows [row_begin, row_end) of the `images * out_height` rows of all images.
struct DepthwiseGroup {
  const uint8_t* in;
  uint8_t* out;
  const void* weights;       // of this group, as packed for the kernel
  const int32_t* bias;       // 4: bias - in_zero * (sum of the channel's weights); a tap outside the image is in_zero
  const float* multiplier;   // 4
  int32_t images, in_height, in_width, out_height, out_width;
  int64_t row_begin, row_end;
};

struct DepthwiseKernel {
  const char* name;
  Isa isa;
  // Bytes of packed weights of one group of four channels with kernel_h x kernel_w taps; a multiple of 64.
  int64_t (*packed_bytes)(int32_t kernel_h, int32_t kernel_w);
  // weights: int8 [4][kernel_h][kernel_w] (channels missing from the last group are zero).
  void (*pack)(const int8_t* weights, int32_t kernel_h, int32_t kernel_w, void* packed);
  void (*run)(const DepthwiseGroup& group, const DepthwiseParams& params);
};

std::span<const DepthwiseKernel> depthwise_kernels();
const DepthwiseKernel& select_depthwise(Isa isa);

// Weights and constants of one layer, packed for one kernel. Immutable: threads share it.
struct DepthwiseWeights {
  const DepthwiseKernel* kernel;
  Buffer weights;      // packed, groups one after the other
  Buffer bias;         // int32 [groups * 4]
  Buffer multiplier;   // float [groups * 4]
  int64_t bytes() const { return static_cast<int64_t>(weights.size() + bias.size() + multiplier.size()); }
};

// weight: int8 [channels, kernel_h, kernel_w]; bias: int32 [channels], in units of input scale * weight scale;
// multiplier: float [channels], (input scale * weight scale) / output scale.
DepthwiseWeights pack_depthwise(const DepthwiseKernel& kernel, const int8_t* weight, const int32_t* bias, const float* multiplier,
                                int32_t channels, const DepthwiseParams& params);

void depthwise(const DepthwiseWeights& weights, const Planes& in, const Planes& out, const DepthwiseParams& params, ThreadPool& pool);

}  // namespace niwaki
