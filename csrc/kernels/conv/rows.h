// The weights of a layer as kernels read them: a row is four consecutive input channels of one output at one tap. Rows follow each other tap
// by tap, and then group of channels by group of channels. A row that is not all zero is a block of a sparse layer.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/conv/conv.h"

namespace niwaki {

constexpr int64_t kRowBytes = 4;

class WeightRows {
 public:
  WeightRows(const ConvParams& params, const int8_t* weight);

  // Of output `o`: the rows of groups [begin, end), zero where the channels are not o's. Good until the next call.
  const int8_t* of(int32_t o, int32_t begin, int32_t end);

 private:
  const ConvParams& params_;
  const int8_t* weight_;
  std::vector<int8_t> rows_;
};

// The four weights of row `row` together; zero if all of them are.
inline uint32_t weights_of_row(const int8_t* rows, int64_t row) {
  uint32_t four;
  std::memcpy(&four, rows + row * kRowBytes, sizeof four);
  return four;
}

}  // namespace niwaki
