// What the kernels of grid_sample take. Apart from grid_sample.h because files of one instruction set include no header with code in
// it.
#pragma once

#include <stdint.h>

namespace niwaki {

enum class SampleMode : uint8_t { bilinear, nearest, bicubic };
enum class SamplePadding : uint8_t { zeros, border, reflection };

// `count` neighbouring outputs of an image.
struct GridRow {
  SampleMode mode;
  SamplePadding padding;
  bool align_corners;
  int64_t channels, height, width;  // of the image; height * width is 1 to 2^31 - 1
  const float* image;               // [channels, height, width]
  const float* grid;                // [count, 2]: x, y
  float* out;                       // of the first channel
  int64_t out_plane;                // floats from one channel of `out` to the next
  int64_t count;
};

}  // namespace niwaki
