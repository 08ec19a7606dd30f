// What a kernel of mul takes. Apart from mul.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// t = float((a - a_zero) * (b - b_zero)) * scale; out = round(clamp(t)) + out_zero, within [low, high].
struct MulParams {
  float scale;  // (a's scale * b's scale) / scale of the output
  int32_t a_zero, b_zero, out_zero;
  int32_t low, high;
};

}  // namespace niwaki
