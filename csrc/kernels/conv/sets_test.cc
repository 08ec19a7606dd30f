// Layers whose sets balance: a kernel that works on the lists of four outputs side by side multiplies their blocks and nothing else.
#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/conv/conv.h"
#include "kernels/conv/kernel.h"
#include "kernels/conv/sparse_lists.h"
#include "testing/test.h"

namespace niwaki {
namespace {

using testing::Random;

// Where the lists of a set are equally long in each 72 rows, as python/niwaki/pruning/select.py makes them, nothing is multiplied in vain.
TEST(conv_balanced_sets_are_not_filled_up) {
  Random random(14);
  for (const int32_t size : {1, 3, 4, 5, 6, 7, 8, 9, 10, 14, 28}) {
    for (const auto& [groups, kernel] : {std::pair{600, 1}, std::pair{40, 3}, std::pair{9, 5}, std::pair{3, 9}}) {
      ConvParams params{};
      params.in_channels = groups * 4;
      params.out_channels = 44;
      params.groups = 1;
      params.kernel_h = params.kernel_w = kernel;
      params.expected_pixels = int64_t{size} * size;
      const int32_t taps = kernel * kernel, step = std::max(1, 72 / taps);
      std::vector<int8_t> weight(static_cast<std::size_t>(int64_t{params.out_channels} * params.in_channels * taps), 0);
      int64_t blocks = 0;
      for (int32_t set = 0; set < params.out_channels; set += 4) {
        for (int32_t first = 0; first < groups; first += step) {
          const int32_t rows = std::min(step, groups - first) * taps, held = random.integer(0, rows),
                        turn = random.integer(0, rows);
          blocks += 4 * held;
          for (int32_t i = 0; i < held; ++i)
            for (int32_t o = set; o < set + 4; ++o) {
              const int32_t row = (i + turn + o * 5) % rows;
              weight[static_cast<std::size_t>((int64_t{o} * params.in_channels + (first + row / taps) * 4 + 1) * taps +
                                              row % taps)] = 1;
            }
        }
      }
      for (const ConvKernels& kernels : conv_kernels()) {
        if (kernels.sparse_lists == 1) continue;
        const BlockCount count = count_blocks(params, weight.data(), kernels, SparseCut(params, kernels));
        CHECK_EQ(count.held, blocks);
        CHECK_EQ(count.multiplied, blocks);
      }
    }
  }
}

}  // namespace
}  // namespace niwaki
