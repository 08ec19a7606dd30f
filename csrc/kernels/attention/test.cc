#include "kernels/byte_attention/test_problem.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

TEST(attention_selection) { check_selection(attention_kernels(), select_attention); }

TEST(attention_equals_the_formula_and_the_same_bits_everywhere) {
  Random random(1);
  using enum AttentionMask;
  const AttentionCase cases[] = {{1, 1, 1, 1, 1},
                                 {2, 3, 5, 8, 16},
                                 {3, 17, 33, 20, 7},
                                 {1, 70, 70, 32, 32, true},
                                 {1, 9, 4, 16, 48, true},
                                 {1, 4, 90, 3, 5, true},
                                 {4, 8, 48, 64, 64, false, boolean},
                                 {2, 19, 31, 5, 17, false, added},
                                 {2, 30, 20, 5, 3, true, added},
                                 {2, 6, 40, 8, 8, false, boolean, true},
                                 {2, 40, 6, 8, 8, false, boolean, false, true},
                                 {2, 6, 40, 8, 8, false, added, false, true},
                                 {1, 3, 1030, 4, 20, false, added},
                                 {1, 5, 513, 4, 20, false, boolean, true},
                                 {1, 600, 600, 4, 4, true},
                                 {1, 2, 6, 256, 200},
                                 {3, 20, 40, 16, 16, false, none, false, false, 5},
                                 {2, 70, 600, 8, 20, true, added, false, false, 3},
                                 {2, 3, 0, 4, 5},
                                 {2, 3, 4, 0, 5},
                                 {0, 3, 4, 4, 5},
                                 {2, 0, 4, 4, 5}};
  for (const AttentionCase& c : cases) {
    const AttentionProblem problem(c, random);
    problem.check_near(problem.run_all());
  }
}

// As torch: a row that sees no key is zeros, whether a bool or -infinity says so; the lowest number of all keys is no mask but the same for all.
TEST(attention_of_rows_that_see_nothing) {
  Random random(2);
  for (const int64_t keys : {6, 40, 700}) {
    for (const AttentionMask mask : {AttentionMask::boolean, AttentionMask::added}) {
      AttentionProblem problem({1, 4, keys, 8, 20, false, mask}, random);
      for (int64_t key = 0; key < keys; ++key) {
        problem.bools[at(keys + key)] = 0;
        problem.added[at(keys + key)] = -kInfinity;
        problem.added[at(2 * keys + key)] = std::numeric_limits<float>::lowest();
        if (key < 600) problem.bools[at(3 * keys + key)] = key == 599;  // nothing in the whole first block
      }
      const std::vector<float> found = problem.run_all();
      problem.check_near(found);
      for (int64_t i = 0; i < 20; ++i) CHECK_EQ(found[at(20 + i)], 0.0f);
      if (mask != AttentionMask::added) continue;
      for (int64_t i = 0; i < 20; ++i) {
        double mean = 0.0;
        for (int64_t key = 0; key < keys; ++key) mean += problem.v[at(key * 20 + i)] / static_cast<double>(keys);
        CHECK(std::abs(found[at(40 + i)] - mean) < 1e-5);
      }
    }
  }
}

// What is not a number stays in its row, and is not lost even where nothing else is there.
TEST(attention_of_what_is_not_a_number) {
  Random random(3);
  AttentionProblem problem({1, 3, 20, 8, 20, false, AttentionMask::boolean}, random);
  for (int64_t key = 0; key < 20; ++key) problem.bools[at(20 + key)] = problem.bools[at(key)] = key < 18;
  problem.q[8] = kNan;
  std::vector<float> found = problem.run_all();
  for (int64_t i = 0; i < 60; ++i) CHECK_EQ(std::isnan(found[at(i)]), i / 20 == 1);
  problem.q[8] = 1.0f;
  problem.k[0] = kInfinity;  // scores of plus or minus infinity, or not a number
  found = problem.run_all();
  problem.k[0] = 1.0f;
  problem.k[19 * 8] = kNan;  // of a key that two rows don't see
  problem.bools[at(2 * 20 + 19)] = 1;
  found = problem.run_all();
  for (int64_t i = 0; i < 60; ++i) CHECK_EQ(std::isnan(found[at(i)]), i / 20 == 2);
}

}  // namespace
