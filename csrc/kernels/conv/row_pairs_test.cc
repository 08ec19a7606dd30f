// Pairs of rows: whatever the weights, sums fit 16 bits, and all weights are there.
#include "kernels/conv/row_pairs.h"

#include <algorithm>
#include <map>
#include <vector>

#include "kernels/conv/kernel.h"
#include "testing/test.h"

namespace niwaki {
namespace {

using testing::Random;
using Sums = std::map<uint16_t, std::vector<int32_t>>;  // of the weights of each row

struct Kind {
  int32_t largest;  // magnitude
  double zeros;     // share of rows
  bool extreme;     // weights are 0 or as large as possible
};

std::vector<int8_t> some_row(Random& random, int32_t outputs, const Kind& kind) {
  std::vector<int8_t> row(static_cast<std::size_t>(outputs) * 4, 0);
  if (random.real(0, 1) < static_cast<float>(kind.zeros)) return row;
  for (int8_t& weight : row)
    weight =
        static_cast<int8_t>(kind.extreme ? random.integer(-1, 1) * kind.largest : random.integer(-kind.largest, kind.largest));
  return row;
}

// The largest sum of an output's two neighbouring channels in both rows of a pair: of positive weights, and of negative ones.
int32_t largest_sum(const int8_t* first, const int8_t* second, int32_t outputs) {
  int32_t largest = 0;
  for (int32_t i = 0; i < outputs * 4; i += 2) {
    int32_t positive = 0, negative = 0;
    for (const int32_t weight : {first[i], first[i + 1], second[i], second[i + 1]}) (weight > 0 ? positive : negative) += weight;
    largest = std::max({largest, positive, -negative});
  }
  return largest;
}

template <int kOutputs>
void check_pairs(Random& random) {
  constexpr int32_t outputs = kOutputs;
  for (const Kind& kind :
       {Kind{127, 0.0, false}, Kind{127, 0.3, true}, Kind{40, 0.0, false}, Kind{8, 0.9, false}, Kind{127, 1.0, false}})
    for (const int32_t rows : {0, 1, 2, 15, 16, 17, 18, 300}) {
      RowPairs<kOutputs> pairs;
      pairs.add(7, some_row(random, outputs, {127, 0.0, true}).data());  // of another list
      pairs.finish();
      pairs.clear();
      Sums expected, got;
      for (int32_t i = 0; i < rows; ++i) {
        const auto name = static_cast<uint16_t>(i * 200);
        const std::vector<int8_t> row = some_row(random, outputs, kind);
        pairs.add(name, row.data());
        if (std::any_of(row.begin(), row.end(), [](int8_t weight) { return weight != 0; }))
          expected[name].assign(row.begin(), row.end());
      }
      pairs.finish();
      const std::size_t width = static_cast<std::size_t>(outputs) * 4, count = pairs.names().size();
      CHECK_EQ(count % 2, std::size_t{0});
      CHECK_EQ(pairs.weights().size(), count * width);
      CHECK(count <= 4 * expected.size());
      for (std::size_t i = 0; i < count; ++i) {
        const int8_t* weights = pairs.weights().data() + i * width;
        if (i % 2 == 0) CHECK(largest_sum(weights, weights + width, outputs) <= 128);
        std::vector<int32_t>& sums = got[pairs.names()[i]];
        sums.resize(width);
        for (std::size_t j = 0; j < width; ++j) sums[j] += weights[j];
      }
      CHECK(got == expected);
      // Small weights all find a partner, up to the last ones.
      if (kind.largest == 8) CHECK(count <= expected.size() + 1);
    }
}

TEST(conv_rows_are_paired_so_that_16_bits_hold_their_sums) {
  Random random(17);
  check_pairs<1>(random);
  check_pairs<4>(random);
  for (const ConvKernels& kernels : conv_kernels())
    if (kernels.pairs) CHECK_EQ(kernels.dense_outputs, 4);  // whose rows dense.cc pairs
}

}  // namespace
}  // namespace niwaki
