// What a kernel of quantize takes. Apart from quantize.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

struct QuantizeParams {
  float inverse_scale;  // 1.0f / scale, for quantize
  float scale;          // for dequantize
  int32_t zero;
};

}  // namespace niwaki
