// Rows of weights two by two, for kernels that add the products of two rows in 16 bits (ConvKernels::pairs).
//
// vpmaddubsw multiplies unsigned by signed bytes and adds two neighbours, channels 0 and 1 or 2 and 3 of a pixel, to 16 bits, with saturation.
// Another row's fit on top, and then take one widening addition together, where in those four weights of an output neither the positive nor
// the negative ones sum up to more than 128: 255 * 128 < 2^15. Most rows have a partner like that not far away. One that has none is multiplied
// beside zeros, and one that is too large by itself becomes two rows that add up to it. So any weights are multiplied exactly.
#pragma once

#include <cstdint>
#include <vector>

namespace niwaki {

class RowPairs {
 public:
  static constexpr int32_t kMostOutputs = 8;

  // outputs: whose weights a row holds, 1, 4 or 8, four each.
  explicit RowPairs(int32_t outputs) : width_(outputs * 4), words_((outputs * 4 + 7) / 8 * 2) {}

  // The next row, called `name`, a number of 16 bits. weights: [outputs][4], at least -127. Rows of zeros are left out.
  void add(uint16_t name, const int8_t* weights);
  // After the last row.
  void finish();

  // Rows 2 i and 2 i + 1 are a pair.
  const std::vector<uint16_t>& names() const { return names_; }
  const std::vector<int8_t>& weights() const { return weights_; }  // [names][outputs][4]
  void clear();

 private:
  // Sums of the positive and of the negative weights of neighbours, 16 bits each.
  struct Sums {
    uint64_t words[kMostOutputs];
  };
  struct Row {
    Sums sums;
    int8_t weights[kMostOutputs * 4];
    uint16_t name;
  };
  static constexpr int kWaiting =
      16;  // rows without a partner: more find one in shorter time, but make neighbours of rows that are far apart

  Sums sums_of(const int8_t* weights) const;
  bool fits(const Sums& a, const Sums& b) const;
  void match(const Row& row);
  void emit(const Row& row);
  void emit_alone(const Row& row);

  int width_, words_;
  Row waiting_[kWaiting];
  uint8_t order_[kWaiting] = {0, 1, 2,  3,  4,  5,  6,  7,
                              8, 9, 10, 11, 12, 13, 14, 15};  // slots of the waiting rows, the oldest first; then free ones
  int count_ = 0;
  std::vector<uint16_t> names_;
  std::vector<int8_t> weights_;
};

}  // namespace niwaki
