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

// kOutputs: whose weights a row holds, four each: 1, or 4.
template <int kOutputs>
class RowPairs {
 public:
  static constexpr int kRowWeights = kOutputs * 4;

  // The next row, called `name`. weights: [kOutputs][4], at least -127. Rows of zeros are left out.
  void add(uint16_t name, const int8_t* weights);
  // After the last row.
  void finish();

  // Rows 2 i and 2 i + 1 are a pair.
  const std::vector<uint16_t>& names() const { return names_; }
  const std::vector<int8_t>& weights() const { return weights_; }  // [names][kOutputs][4]
  void clear();

 private:
  static constexpr int kEights = (kRowWeights + 7) / 8;
  // Sums of the positive and of the negative weights of neighbours, 16 bits each.
  struct Sums {
    uint64_t words[2 * kEights];
  };
  struct Row {
    Sums sums;
    int8_t weights[kRowWeights];
    uint16_t name;
  };
  static constexpr int kWaiting =
      16;  // rows without a partner: more find one in shorter time, but make neighbours of rows that are far apart

  static Sums sums_of(const int8_t* weights);
  static bool fits(const Sums& a, const Sums& b);
  void match(const Row& row);
  void emit(const Row& row);
  void emit_alone(const Row& row);

  Row waiting_[kWaiting];
  // Slots of the waiting rows, the oldest first; then free ones.
  uint8_t order_[kWaiting] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  int count_ = 0;
  std::vector<uint16_t> names_;
  std::vector<int8_t> weights_;
};

extern template class RowPairs<1>;
extern template class RowPairs<4>;

}  // namespace niwaki
