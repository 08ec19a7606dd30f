// Images of float32 read at the places of a grid, as torch 2.13 reads them. -1 and 1 are the corners of the image: the outer edges of the
// corner pixels, or their centres (align_corners).
//
// All instruction sets give the same bits. A place is found in float32, but for the two steps in which torch rounds a product and a sum
// together: these are taken in float64. Taps are added in row-major order; bicubic along the width first. A place that is no number is the
// first row or column where the padding is border or reflection, and so is an infinite one for reflection; without padding bilinear and
// bicubic make NaN of both, nearest 0.
#pragma once

#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/grid_sample/params.h"

namespace niwaki {

struct GridSampleKernel {
  const char* name;
  Isa isa;
  void (*run)(const GridRow&);
};

std::span<const GridSampleKernel> grid_sample_kernels();
const GridSampleKernel& select_grid_sample(Isa isa);

struct GridSampleParams {
  SampleMode mode;
  SamplePadding padding;
  bool align_corners;
  int64_t images, channels, height, width;
  int64_t out_pixels;  // of an image
};

// in: [images, channels, height, width]; grid: [images, out_pixels, 2]; out: [images, channels, out_pixels]. height * width is at least 1
// and at most 2^31 - 1.
void grid_sample(const GridSampleKernel& kernel, const float* in, const float* grid, float* out, const GridSampleParams& params,
                 ThreadPool& pool);

}  // namespace niwaki
