// What a kernel of prelu takes. Apart from prelu.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// t = float(in - in_zero) * (in > in_zero ? scale : factor of the channel); out = round(clamp(t)) + out_zero, within [low, high].
struct PreluParams {
  float scale;  // of the input over that of the output
  int32_t in_zero, out_zero;
  int32_t low, high;  // 0 <= low <= high <= 255
};

}  // namespace niwaki
