// Which taps of a layer have weights.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv/conv.h"

namespace niwaki {

// Groups [begin, end) of input channels whose weights lie within one rectangle of the kernel's taps.
struct TapRectangle {
  int32_t begin, end;
  int32_t top, left, height, width;
};

// Cuts the input channels into neighbouring groups whose weights lie within one rectangle of taps: the rest of the taps is zero for
// every output and gets no rows. As a stem on the phases of its image has them (graph/phases.h). One rectangle, with all taps, for grouped
// layers, whose outputs have channels of their own, and for layers of one tap.
std::vector<TapRectangle> find_taps(const ConvParams& params, const int8_t* weight);

// The rows that these are.
int64_t rows_of(const std::vector<TapRectangle>& rectangles);

}  // namespace niwaki
