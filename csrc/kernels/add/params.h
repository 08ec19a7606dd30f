// What a kernel of add takes. Apart from add.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// t = float(a - a_zero) * a_scale + float(b - b_zero) * b_scale, or the larger or smaller of the two; out = round(clamp(t)) + out_zero,
// within [low, high].
struct AddParams {
  float a_scale, b_scale;  // scale of the input over scale of the output
  int32_t a_zero, b_zero, out_zero;
  int32_t low, high;  // 0 <= low <= high <= 255
};

}  // namespace niwaki
