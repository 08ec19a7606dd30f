// What kernels of dynamic_linear take. Apart from dynamic_linear.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

#include "kernels/quantize/params.h"

namespace niwaki {

// Of the numbers of a row and 0.
struct RowRange {
  float low, high;
  bool finite;  // all of them
};

// out[r][o] = ((out[r][o] + float((128 - zero of r) * weight_sums[o])) * weight_scale[o]) * scale of r + bias[o]
struct RowsFinish {
  float* out;  // [rows][outputs]
  int64_t rows, outputs;
  const QuantizeParams* quantized;  // [rows]
  const int32_t* weight_sums;
  const float* weight_scale;
  const float* bias;
};

}  // namespace niwaki
