// Max, average and adaptive average pooling.
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/layout.h"

namespace niwaki {

struct PoolParams {
  int32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;  // average pooling has no dilation: 1
  // Average only. t = float(sum q - count * in_zero) * (scale / float(count)); out = round(clamp(t)) + out_zero.
  // count: the pixels of the window inside the image; with count_include_pad, inside the image grown by the padding
  // (pad_bottom and pad_right on the far side), as in torch; `divisor` > 0 replaces it in the division (not beside in_zero).
  int32_t pad_bottom, pad_right;
  bool count_include_pad;
  int32_t divisor;
  float scale;  // scale of the input over scale of the output
  int32_t in_zero, out_zero, low, high;
};

// One group of four channels: all images, every output pixel. Planes are 64-byte aligned.
struct PoolGroup {
  const uint8_t* in;
  uint8_t* out;
  int32_t images, in_height, in_width, out_height, out_width;
};

struct PoolKernel {
  const char* name;
  Isa isa;
  void (*max)(const PoolGroup& group, const PoolParams& params);      // the window always touches the image
  void (*average)(const PoolGroup& group, const PoolParams& params);
  // Window of output row y: [floor(y * in / out), ceil((y + 1) * in / out)); only scale, zeros, low and high of params are read.
  void (*adaptive)(const PoolGroup& group, const PoolParams& params);
};

std::span<const PoolKernel> pool_kernels();
const PoolKernel& select_pool(Isa isa);

void max_pool2d(const PoolKernel& kernel, const Planes& in, const Planes& out, const PoolParams& params, ThreadPool& pool);
void avg_pool2d(const PoolKernel& kernel, const Planes& in, const Planes& out, const PoolParams& params, ThreadPool& pool);
void adaptive_avg_pool2d(const PoolKernel& kernel, const Planes& in, const Planes& out, const PoolParams& params, ThreadPool& pool);

}  // namespace niwaki
