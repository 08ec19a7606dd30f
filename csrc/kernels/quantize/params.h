// What kernels of quantize take. Apart from quantize.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

struct QuantizeParams {
  float inverse_scale;  // 1.0f / scale, for quantize
  float scale;          // for dequantize
  int32_t zero;
};

struct RowsParams {
  int64_t rows, channels;
  int64_t group_stride;  // bytes between groups of four channels
};

}  // namespace niwaki
