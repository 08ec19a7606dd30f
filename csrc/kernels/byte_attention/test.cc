#include <algorithm>

#include "kernels/byte_attention/test_problem.h"
#include "testing/test.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

float round_even(float x) { return std::nearbyint(x); }
float inverse_of(float greatest) { return greatest < 1e-30f ? 0.0f : 127.0f / greatest; }

// byte_attention.h's formula for keys that are one block, but for the exponential: weights are given. One head.
struct Codes {
  std::vector<int> q, k, v;
  std::vector<float> q_scales, k_scales, v_scales;

  explicit Codes(const AttentionProblem& problem) {
    const auto& s = problem.sizes;
    std::vector<float> means;
    for (int64_t e = 0; e < s.width; ++e) {
      float sum = 0.0f;
      for (int64_t key = 0; key < s.keys; ++key) sum += problem.k[at(key * s.width + e)];
      means.push_back(sum * (1.0f / static_cast<float>(s.keys)));
    }
    const auto add = [&](const std::vector<float>& numbers, std::vector<int>& codes, std::vector<float>& scales) {
      float greatest = 0.0f;
      for (const float x : numbers) greatest = std::max(greatest, std::abs(x));
      for (const float x : numbers) codes.push_back(static_cast<int>(round_even(x * inverse_of(greatest))));
      scales.push_back(greatest * (1.0f / 127.0f));
    };
    for (int64_t row = 0; row < s.queries; ++row) {
      std::vector<float> numbers;
      for (int64_t e = 0; e < s.width; ++e) numbers.push_back(problem.q[at(row * s.width + e)] * s.scale);
      add(numbers, q, q_scales);
    }
    for (int64_t key = 0; key < s.keys; ++key) {
      std::vector<float> numbers;
      for (int64_t e = 0; e < s.width; ++e) numbers.push_back(problem.k[at(key * s.width + e)] - means[at(e)]);
      add(numbers, k, k_scales);
    }
    for (int64_t c = 0; c < s.value_width; ++c) {  // channel by channel
      std::vector<float> numbers;
      for (int64_t key = 0; key < s.keys; ++key) numbers.push_back(problem.v[at(key * s.value_width + c)]);
      add(numbers, v, v_scales);
    }
  }

  float score(const AttentionSizes& s, int64_t row, int64_t key) const {
    int sum = 0;
    for (int64_t e = 0; e < s.width; ++e) sum += q[at(row * s.width + e)] * k[at(key * s.width + e)];
    return static_cast<float>(sum) * (k_scales[at(key)] * q_scales[at(row)]);
  }
};

// What the formula gives for a weight that may be one code above or below, for the exponential here is another one.
void check_formula(const AttentionProblem& problem, const std::vector<float>& found) {
  const auto& s = problem.sizes;
  const Codes codes(problem);
  for (int64_t row = 0; row < s.queries; ++row) {
    std::vector<float> scores;
    for (int64_t key = 0; key < s.keys; ++key) scores.push_back(codes.score(s, row, key));
    const float most = *std::max_element(scores.begin(), scores.end());
    std::vector<double> weights;
    double sum = 0.0;
    for (const float score : scores) {
      weights.push_back(std::floor(std::exp(static_cast<double>(score) - most) * 16383.0 + 0.5));
      sum += weights.back();
    }
    for (int64_t c = 0; c < s.value_width; ++c) {
      double wanted = 0.0;
      for (int64_t key = 0; key < s.keys; ++key) wanted += weights[at(key)] * codes.v[at(c * s.keys + key)];
      const double one_code = 127.0 * static_cast<double>(s.keys) * 2.0 / sum;
      wanted = wanted / sum * codes.v_scales[at(c)];
      CHECK(std::abs(found[at(row * s.value_width + c)] - wanted) <= one_code * codes.v_scales[at(c)]);
    }
  }
}

TEST(byte_attention_selection) { check_selection(byte_attention_kernels(), select_byte_attention); }

TEST(byte_attention_is_near_the_formula_and_the_same_bits_everywhere) {
  Random random(1);
  using enum AttentionMask;
  const AttentionCase cases[] = {{1, 16, 1, 1, 1},
                                 {2, 17, 5, 8, 16},
                                 {3, 17, 33, 20, 7},
                                 {1, 70, 70, 32, 32, true},
                                 {1, 19, 4, 16, 48, true},
                                 {4, 18, 48, 64, 64, false, boolean},
                                 {2, 19, 31, 5, 17, false, added},
                                 {2, 30, 20, 5, 3, true, added},
                                 {2, 16, 40, 8, 8, false, boolean, true},
                                 {2, 40, 6, 8, 8, false, boolean, false, true},
                                 {2, 16, 40, 8, 8, false, added, false, true},
                                 {1, 17, 1030, 4, 20, false, added},
                                 {1, 16, 513, 4, 20, false, boolean, true},
                                 {1, 600, 600, 4, 4, true},
                                 {1, 21, 1500, 3, 65},
                                 {1, 16, 6, 256, 200},
                                 {3, 20, 40, 16, 16, false, none, false, false, 5},
                                 {2, 70, 600, 8, 20, true, added, false, false, 3},
                                 {2, 16, 0, 4, 5},
                                 {2, 16, 4, 0, 5},
                                 {2, 3, 50, 4, 5},  // few queries: in float32
                                 {0, 16, 4, 4, 5},
                                 {2, 0, 4, 4, 5}};
  for (const AttentionCase& c : cases) {
    AttentionProblem problem(c, random, true);
    problem.sizes.scale = 1.0f / std::sqrt(static_cast<float>(std::max<int64_t>(c.width, 1)));
    problem.check_near(problem.run_all(), 0.12);
  }
}

TEST(byte_attention_is_made_of_codes) {
  Random random(4);
  for (const AttentionCase& c :
       {AttentionCase{1, 16, 40, 8, 20}, {1, 33, 500, 64, 64}, {1, 16, 3, 128, 1}, {1, 50, 197, 7, 33}}) {
    AttentionProblem problem(c, random, true);
    for (float& x : problem.k) x += 100.0f;  // of which the softmax knows nothing
    for (float& x : problem.q) x *= 0.1f;
    check_formula(problem, problem.run_all());
  }
}

TEST(byte_attention_of_zeros) {
  Random random(5);
  AttentionProblem problem({1, 20, 30, 8, 20}, random, true);
  std::fill(problem.k.begin(), problem.k.end(), 2.0f);  // each is the mean: all weigh the same
  for (int64_t key = 0; key < 30; ++key) problem.v[at(key * 20)] = 0.0f, problem.v[at(key * 20 + 1)] = 3.0f;
  for (const float q : {0.0f, 1e-38f, 1.0f}) {
    std::fill(problem.q.begin(), problem.q.begin() + 8, q);
    const std::vector<float> found = problem.run_all();
    problem.check_near(found, 0.05);
    for (int64_t row = 0; row < 20; ++row) {
      CHECK_EQ(found[at(row * 20)], 0.0f);
      CHECK(std::abs(found[at(row * 20 + 1)] - 3.0f) < 1e-5f);
    }
  }
}

// Weights far below the greatest count where there are many of them.
TEST(byte_attention_of_a_long_tail) {
  Random random(6);
  AttentionProblem problem({1, 16, 4000, 4, 16}, random, true);
  std::fill(problem.k.begin(), problem.k.end(), 0.0f);
  std::fill(problem.q.begin(), problem.q.end(), 1.0f);
  for (int64_t e = 0; e < 4; ++e)
    problem.k[at(e)] = 6.0f / (4.0f * 0.31f);  // exp(6) = 403 times the weight of each of the others
  problem.check_near(problem.run_all(), 0.02);
}

TEST(byte_attention_of_rows_that_see_nothing) {
  Random random(2);
  for (const int64_t keys : {6, 40, 700}) {
    AttentionProblem problem({1, 17, keys, 8, 20, false, AttentionMask::boolean}, random, true);
    for (int64_t key = 0; key < keys; ++key) {
      problem.bools[at(keys + key)] = 0;
      if (key < 600) problem.bools[at(3 * keys + key)] = key == 599;  // nothing in the whole first block
    }
    const std::vector<float> found = problem.run_all();
    problem.check_near(found, 0.12);
    for (int64_t i = 0; i < 20; ++i) CHECK_EQ(found[at(20 + i)], 0.0f);
  }
}

// As attention_of_rows_that_see_nothing: the lowest number of all keys is no mask but the same for all.
TEST(byte_attention_of_the_lowest_number_for_all_keys) {
  Random random(10);
  AttentionProblem problem({1, 17, 40, 8, 20, false, AttentionMask::added}, random, true);
  for (int64_t key = 0; key < 40; ++key) problem.added[at(40 + key)] = std::numeric_limits<float>::lowest();
  const std::vector<float> found = problem.run_all();
  for (int64_t i = 0; i < 20; ++i) {
    double mean = 0.0;
    for (int64_t key = 0; key < 40; ++key) mean += problem.v[at(key * 20 + i)] / 40.0;
    CHECK(std::abs(found[at(20 + i)] - mean) < 0.03);
  }
}

// What is not a number stays in its row; keys and values that no codes stand for are computed as in float32.
TEST(byte_attention_of_what_is_not_finite) {
  Random random(3);
  AttentionProblem problem({1, 100, 20, 8, 20, false, AttentionMask::boolean}, random, true);
  for (int64_t key = 0; key < 20; ++key) problem.bools[at(20 + key)] = problem.bools[at(key)] = key < 18;
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    problem.q[8] = bad;
    const std::vector<float> found = problem.run_all();
    for (int64_t i = 0; i < 2000; ++i) CHECK_EQ(std::isnan(found[at(i)]), i / 20 == 1);
  }
  problem.q[8] = 1.0f;
  const auto as_floats = [&problem] {
    const std::vector<float> found = problem.run_all();
    problem.in_bytes = false;
    CHECK(same(found, problem.run_all()));
    problem.in_bytes = true;
  };
  for (const float bad : {kNan, kInfinity, 1e37f, -3e38f}) {
    problem.k[19 * 8] = bad;
    as_floats();
  }
  problem.k[19 * 8] = 1.0f;
  for (const float bad : {kNan, kInfinity}) {
    problem.v[19 * 20] = bad;
    as_floats();
  }
  problem.v[19 * 20] = 3e38f;
  problem.run_all();
}

// The greatest score weighs 1 whatever its size: products of it with a constant are rounded, differences from it are not.
TEST(byte_attention_of_huge_scores) {
  Random random(8);
  using enum AttentionMask;
  for (const AttentionCase& c : {AttentionCase{2, 17, 33, 5, 20}, {1, 16, 600, 24, 4, true}, {2, 20, 70, 3, 16, false, added}})
    for (const float most : {30.0f, 1e3f, 1e5f, 3e9f, 1e18f, 1e30f}) {
      AttentionProblem problem(c, random, true);
      for (float& x : problem.q) x *= random.integer(0, 2) == 0 ? most : 1.0f;
      for (float& x : problem.k) x *= random.integer(0, 2) == 0 ? most : 1.0f;
      for (float& x : problem.v) x = random.real(1.0f, 2.0f);
      for (const float x : problem.run_all())
        CHECK(x == 0.0f || (x > 0.98f && x < 2.02f) || (most > 1e15f && std::isnan(x)));  // 0: a row that sees nothing
    }
}

TEST(byte_attention_of_keys_whose_sum_is_infinite) {
  Random random(9);
  AttentionProblem problem({1, 16, 60, 8, 20}, random, true);
  for (int64_t key = 0; key < 60; ++key) problem.k[at(key * 8)] = 9e36f;
  const std::vector<float> found = problem.run_all();
  problem.in_bytes = false;
  CHECK(same(found, problem.run_all()));
}

TEST(byte_attention_of_scores_that_are_not_numbers) {
  Random random(7);
  AttentionProblem problem({1, 20, 40, 8, 20, false, AttentionMask::added}, random, true);
  problem.added[3] = kNan;
  problem.added[at(40 + 5)] = kInfinity;
  const std::vector<float> found = problem.run_all();
  for (int64_t i = 0; i < 400; ++i) CHECK_EQ(std::isnan(found[at(i)]), i / 20 < 2);
}

}  // namespace
