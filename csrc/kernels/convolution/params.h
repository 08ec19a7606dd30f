// What the kernels of a convolution take. Apart from convolution.h because files of one instruction set include no header with code in
// it.
#pragma once

#include <stdint.h>

namespace niwaki {

// Channels whose weights lie side by side.
constexpr int kChannelBlock = 16;

// sums[c][p] += weights[row][c] * panel[row][p], row by row, each product and its sum rounded once.
struct PanelProduct {
  const float* panel;    // [rows][row_floats]: what the taps of each pixel see
  const float* weights;  // [blocks of channels][block_floats], of which the first rows * width: [rows][width]
  float* sums;           // [channels][row_floats]
  int64_t row_floats;    // a multiple of 16, at least `pixels`; what lies behind the pixels may be read and written
  int64_t block_floats;
  int64_t rows, channels, pixels;
  int64_t width;  // channels of a block: kChannelBlock, or all where there are fewer
};

// out[x] = bias + sum over k of weights[k] * taps[k][x], in the order of k, each product and its sum rounded once. Reads taps up to `count` rounded up to 16.
struct TapProduct {
  const float* const* taps;
  const float* weights;
  int64_t tap_count;
  float bias;
  float* out;
  int64_t count;
};

}  // namespace niwaki
