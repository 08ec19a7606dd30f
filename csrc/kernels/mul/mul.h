// Product of two quantized activations: of the same shape, or the second [N, C, 1, 1] (squeeze-and-excite).
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/mul/params.h"
#include "kernels/layout.h"

namespace niwaki {

struct MulKernel {
  const char* name;
  Isa isa;
  // Flat over `bytes` bytes, a multiple of 64, pointers 64-byte aligned.
  void (*same)(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const MulParams& params);
  // `pixels` lanes of four channels times one lane (`b`: four bytes). Pointers are 4-byte aligned; writes exactly `pixels` lanes.
  void (*lane)(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t pixels, const MulParams& params);
};

std::span<const MulKernel> mul_kernels();
const MulKernel& select_mul(Isa isa);

// Pixels [begin, end) of all images, groups [first, last): each channel times the number that `b`, of height and width 1, has for it and the
// image. out: where the first of them goes; groups are `out_stride` apart.
void scale_pixels(const MulKernel& kernel, const Planes& a, const Planes& b, int64_t begin, int64_t end, int64_t first,
                  int64_t last, uint8_t* out, int64_t out_stride, const MulParams& params);

// b has a's shape, or height = width = 1 with a's images and channels.
void mul(const MulKernel& kernel, const Planes& a, const Planes& b, const Planes& out, const MulParams& params, ThreadPool& pool);

}  // namespace niwaki
