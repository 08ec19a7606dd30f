// What a kernel of depthwise takes. Apart from depthwise.h because files of one instruction set include no header with code in
// it.
#pragma once

#include <stdint.h>

namespace niwaki {

struct DepthwiseParams {
  int32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
  int32_t in_zero, out_zero, low, high;
};

// One group of four channels, output rows [row_begin, row_end) of the `images * out_height` rows of all images.
struct DepthwiseGroup {
  const uint8_t* in;
  uint8_t* out;
  const void* weights;      // of this group, as packed for the kernel
  const int32_t* bias;      // 4: bias + (flip - in_zero) * (sum of the channel's weights); a tap outside the image is in_zero
  const float* multiplier;  // 4
  int32_t images, in_height, in_width, out_height, out_width;
  int64_t row_begin, row_end;
  int64_t readable;  // bytes from the beginning of any row of the input
  bool pointwise;    // one tap, that of the output's own pixel: there is one row, of any pixels
};

}  // namespace niwaki
