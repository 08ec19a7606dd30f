#include "kernels/matmul/matmul.h"

#include <cmath>
#include <string>

#include "base/memory.h"
#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

std::vector<float> random_floats(Random& random, int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = random.real(-2.0f, 2.0f);
  return values;
}

TEST(matmul_selection) { check_selection(matmul_kernels(), select_matmul); }

// Tiles of any size equal those of the reference, and nothing is written around them.
TEST(matmul_tiles_equal_the_reference) {
  Random random(1);
  const MatmulKernel& reference = select_matmul(Isa::scalar);
  constexpr int64_t kDepth = 37, kMost = 100, kStride = 112;
  const std::vector<float> a = random_floats(random, 20 * kDepth), b = random_floats(random, kDepth * kStride);
  const std::vector<float> before = random_floats(random, 20 * kStride);
  for (const MatmulKernel* kernel : runnable(matmul_kernels())) {
    for (int64_t rows = 0; rows <= 18; ++rows) {
      for (int64_t columns = 0; columns <= kMost; columns += columns < 50 ? 1 : 7) {
        for (const int64_t depth : {int64_t{0}, int64_t{1}, kDepth}) {
          std::vector<float> found = before, wanted = before;
          MatmulTile tile{a.data(), b.data(), found.data(), kDepth,  kStride,
                          kStride,  rows,     depth,        columns, (rows + columns) % 2 == 0};
          kernel->multiply(tile);
          tile.out = wanted.data();
          reference.multiply(tile);
          CHECK(found == wanted);
        }
      }
    }
  }
}

// x x - x x, where x x is no float32: the second product is not rounded before it is added.
TEST(matmul_sums_are_fused) {
  const float x = 1.0f + 0x1p-12f;
  const std::vector<float> b(2 * 112, x);
  for (const MatmulKernel* kernel : runnable(matmul_kernels())) {
    for (const int64_t rows : {1, 2, 3, 17}) {
      std::vector<float> a, out(static_cast<std::size_t>(rows * 100));
      for (int64_t row = 0; row < rows; ++row) a.insert(a.end(), {x, -x});
      kernel->multiply({a.data(), b.data(), out.data(), 2, 112, 100, rows, 2, 100, false});
      for (const float sum : out) CHECK_EQ(sum, -0x1p-24f);
    }
  }
}

TEST(matmul_panels_equal_the_reference) {
  Random random(2);
  const MatmulKernel& reference = select_matmul(Isa::scalar);
  const std::vector<float> from = random_floats(random, 64 * 64);
  for (const MatmulKernel* kernel : runnable(matmul_kernels())) {
    for (int64_t depth = 0; depth <= 21; ++depth) {
      for (int64_t columns = 1; columns <= 50; ++columns) {
        for (const bool transposed : {false, true}) {
          std::vector<float> found(64 * 64, 5.0f), wanted = found;
          MatmulPanel panel{from.data(), 57, found.data(), 64, depth, columns};
          (transposed ? kernel->pack_transposed : kernel->pack_rows)(panel);
          panel.panel = wanted.data();
          (transposed ? reference.pack_transposed : reference.pack_rows)(panel);
          for (int64_t k = 0; k < 64; ++k) {
            for (int64_t c = 0; c < 64; ++c) {
              const auto i = static_cast<std::size_t>(k * 64 + c);
              if (k < depth && c < columns) CHECK_EQ(found[i], wanted[i]);
              else if (k >= depth || c >= round_up(columns, 16)) CHECK_EQ(found[i], 5.0f);
            }
          }
        }
      }
    }
  }
}

struct Case {
  int64_t pairs, rows, depth, columns;
};

// Every pair, in double and one after the other: what the order of the sum allows, and the same bits from every instruction set.
TEST(matmul_of_pairs) {
  Random random(3);
  const Case cases[] = {{1, 1, 1, 1},     {1, 0, 3, 4},   {1, 3, 0, 4},    {1, 3, 4, 0},   {0, 2, 2, 2},    {1, 1, 70, 48},
                        {1, 1, 33, 100},  {1, 5, 7, 96},  {3, 17, 20, 31}, {12, 9, 32, 9}, {2, 8, 515, 16}, {1, 6, 1100, 50},
                        {1, 150, 24, 49}, {1, 300, 8, 3}, {1, 40, 5, 1},   {200, 3, 2, 5}};
  for (const Case& c : cases) {
    for (const bool transposed : {false, true}) {
      MatmulSizes sizes{c.rows, c.depth, c.columns, transposed, {}, {}};
      for (int64_t pair = 0; pair < c.pairs; ++pair) {  // the last matrices first; every third b is shared
        sizes.a_offsets.push_back((c.pairs - 1 - pair) * c.rows * c.depth);
        sizes.b_offsets.push_back((pair - pair % 3) * c.columns * c.depth);
      }
      const std::vector<float> a = random_floats(random, c.pairs * c.rows * c.depth);
      const std::vector<float> b = random_floats(random, c.pairs * c.columns * c.depth);
      std::vector<float> first;
      for (const MatmulKernel* kernel : runnable(matmul_kernels())) {
        for (const int threads : {1, 3}) {
          std::vector<float> out(static_cast<std::size_t>(c.pairs * c.rows * c.columns + 1), 7.0f);
          const int64_t step = round_up(matmul_scratch(*kernel, sizes), 64);
          Buffer scratch(static_cast<std::size_t>(step * threads));
          ThreadPool pool(threads);
          matmul(*kernel, sizes, a.data(), b.data(), out.data(), scratch.data(), step, pool);
          CHECK_EQ(out.back(), 7.0f);
          if (first.empty()) first = out;
          CHECK(out == first);
        }
      }
      for (int64_t i = 0; i < c.pairs * c.rows * c.columns; ++i) {
        const int64_t pair = i / c.columns / c.rows, row = i / c.columns % c.rows, column = i % c.columns;
        double sum = 0.0, bound = 0.0;
        for (int64_t k = 0; k < c.depth; ++k) {
          const double left = a[static_cast<std::size_t>(sizes.a_offsets[static_cast<std::size_t>(pair)] + row * c.depth + k)];
          const int64_t at = transposed ? column * c.depth + k : k * c.columns + column;
          sum += left * b[static_cast<std::size_t>(sizes.b_offsets[static_cast<std::size_t>(pair)] + at)];
          bound += std::abs(left) * 2.0;
        }
        bound *= static_cast<double>(c.depth + 1) * 6e-8;
        CHECK(std::abs(first[static_cast<std::size_t>(i)] - sum) <= bound);
      }
    }
  }
}

}  // namespace
