// Depthwise convolution: each channel has its own kernel (groups = channels = outputs).
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/common/after.h"
#include "kernels/depthwise/params.h"
#include "kernels/layout.h"

namespace niwaki {

struct DepthwiseKernel {
  const char* name;
  Isa isa;
  // 128 where the multiply takes signed bytes: the kernel then sees q ^ 128, which as a signed byte is q - 128, and the bias holds the rest;
  // else 0.
  int32_t flip;
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
  Buffer weights;     // packed, groups one after the other
  Buffer bias;        // int32 [groups * 4]
  Buffer multiplier;  // float [groups * 4]
  int64_t bytes() const { return static_cast<int64_t>(weights.size() + bias.size() + multiplier.size()); }
};

// weight: int8 [channels, kernel_h, kernel_w]; bias: int32 [channels], in units of input scale * weight scale;
// multiplier: float [channels], (input scale * weight scale) / output scale.
DepthwiseWeights pack_depthwise(const DepthwiseKernel& kernel, const int8_t* weight, const int32_t* bias, const float* multiplier,
                                int32_t channels, const DepthwiseParams& params);

// after: what becomes of the bytes of `out`.
void depthwise(const DepthwiseWeights& weights, const Planes& in, const Planes& out, const DepthwiseParams& params,
               const AfterFrom& after, ThreadPool& pool);

}  // namespace niwaki
