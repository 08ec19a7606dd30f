// What a kernel of pool takes. Apart from pool.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

struct PoolParams {
  // Average pooling has no dilation: 1.
  int32_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
  // Average only. t = float(sum q - count * in_zero) * (scale / float(count)); out = round(clamp(t)) + out_zero.
  // count: the pixels of the window inside the image; with count_include_pad, inside the image grown by the padding
  // (pad_bottom and pad_right on the far side), as in torch; `divisor` > 0 replaces it in the division (not beside in_zero).
  int32_t pad_bottom, pad_right;
  bool count_include_pad;
  int32_t divisor;
  float scale;  // scale of the input over scale of the output
  int32_t in_zero, out_zero, low, high;
};

// One group of four channels, output rows [row_begin, row_end) of the `images * out_height` rows of all images.
struct PoolGroup {
  const uint8_t* in;
  uint8_t* out;
  int32_t in_height, in_width, out_height, out_width;
  int64_t row_begin, row_end;
};

}  // namespace niwaki
