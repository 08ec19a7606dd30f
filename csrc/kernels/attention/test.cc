#include "kernels/attention/attention.h"

#include <cmath>
#include <limits>
#include <string>

#include "base/memory.h"
#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity(), kNan = std::numeric_limits<float>::quiet_NaN();

std::size_t at(int64_t index) { return static_cast<std::size_t>(index); }

std::vector<float> random_floats(Random& random, int64_t count, float most) {
  std::vector<float> values(at(count));
  for (float& value : values) value = random.real(-most, most);
  return values;
}

// The same bits, or not a number both.
bool same(const std::vector<float>& a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i)
    if (std::isnan(a[i]) ? !std::isnan(b[i]) : !(a[i] == b[i])) return false;
  return a.size() == b.size();
}

struct Case {
  int64_t heads, queries, keys, width, value_width;
  bool causal = false;
  AttentionMask mask = AttentionMask::none;
  bool one_mask_row = false, one_mask_column = false;
};

struct Problem {
  AttentionSizes sizes{};
  std::vector<float> q, k, v, added;
  std::vector<uint8_t> bools;

  Problem(const Case& c, Random& random) {
    const int64_t mask_rows = c.one_mask_row ? 1 : c.queries, mask_columns = c.one_mask_column ? 1 : c.keys;
    sizes = {c.queries,
             c.keys,
             c.width,
             c.value_width,
             c.causal,
             0.31f,
             c.mask,
             c.one_mask_row ? 0 : mask_columns,
             c.one_mask_column ? 0 : 1,
             {},
             {},
             {},
             {}};
    for (int64_t head = 0; head < c.heads; ++head) {  // every second head shares its keys, values and mask
      sizes.q_offsets.push_back((c.heads - 1 - head) * c.queries * c.width);
      sizes.k_offsets.push_back(head / 2 * c.keys * c.width);
      sizes.v_offsets.push_back(head / 2 * c.keys * c.value_width);
      if (c.mask != AttentionMask::none) sizes.mask_offsets.push_back(head / 2 * mask_rows * mask_columns);
    }
    q = random_floats(random, c.heads * c.queries * c.width, 3.0f);
    k = random_floats(random, c.heads * c.keys * c.width, 3.0f);
    v = random_floats(random, c.heads * c.keys * c.value_width, 3.0f);
    for (int64_t i = 0; i < c.heads * mask_rows * mask_columns; ++i) {
      bools.push_back(random.integer(0, 3) > 0);
      added.push_back(random.integer(0, 4) == 0 ? -kInfinity : random.real(-2.0f, 2.0f));
    }
  }

  std::vector<float> run(Isa isa, int threads) const {
    const AttentionKernel& kernel = select_attention(isa);
    const MatmulKernel& products = select_matmul(isa);
    std::vector<float> out(at(static_cast<int64_t>(sizes.q_offsets.size()) * sizes.queries * sizes.value_width + 1), 7.0f);
    const int64_t step = round_up(attention_scratch(products, sizes), 64);
    Buffer scratch(at(step * threads));
    std::memset(scratch.data(), 0xff, scratch.size());
    ThreadPool pool(threads);
    const void* mask = sizes.mask == AttentionMask::boolean ? static_cast<const void*>(bools.data()) : added.data();
    attention(kernel, products, sizes, {q.data(), k.data(), v.data(), mask, out.data()}, scratch.data(), step, pool);
    CHECK_EQ(out.back(), 7.0f);
    out.pop_back();
    return out;
  }

  // The same bits from every instruction set and number of threads.
  std::vector<float> run_all() const {
    const std::vector<float> first = run(Isa::scalar, 1);
    for (const Isa isa : supported_isas())
      for (const int threads : {1, 3}) CHECK(same(run(isa, threads), first));
    return first;
  }

  // In double: the score of a query and a key, with its mask.
  double score(std::size_t head, int64_t query, int64_t key) const {
    if (sizes.causal && key > query) return -kInfinity;
    double sum = 0.0;
    for (int64_t e = 0; e < sizes.width; ++e)
      sum +=
          double{q[at(sizes.q_offsets[head] + query * sizes.width + e)]} * k[at(sizes.k_offsets[head] + key * sizes.width + e)];
    sum *= sizes.scale;
    if (sizes.mask == AttentionMask::none) return sum;
    const std::size_t mask = at(sizes.mask_offsets[head] + query * sizes.mask_query_step + key * sizes.mask_key_step);
    if (sizes.mask == AttentionMask::boolean) return bools[mask] ? sum : -kInfinity;
    return sum + added[mask];
  }

  void check_near(const std::vector<float>& found) const {
    for (std::size_t head = 0; head < sizes.q_offsets.size(); ++head) {
      for (int64_t query = 0; query < sizes.queries; ++query) {
        std::vector<double> scores;
        double most = -kInfinity, sum = 0.0;
        for (int64_t key = 0; key < sizes.keys; ++key) scores.push_back(score(head, query, key));
        for (const double s : scores) most = std::max(most, s);
        for (double& s : scores) {
          s = most == -kInfinity ? 0.0 : std::exp(s - most);
          sum += s;
        }
        for (int64_t i = 0; i < sizes.value_width; ++i) {
          double wanted = 0.0;
          for (int64_t key = 0; key < sizes.keys; ++key)
            if (sum > 0.0) wanted += scores[at(key)] / sum * v[at(sizes.v_offsets[head] + key * sizes.value_width + i)];
          const auto index = (static_cast<int64_t>(head) * sizes.queries + query) * sizes.value_width + i;
          CHECK(std::abs(found[at(index)] - wanted) < 1e-4);
        }
      }
    }
  }
};

TEST(attention_selection) { check_selection(attention_kernels(), select_attention); }

TEST(attention_equals_the_formula_and_the_same_bits_everywhere) {
  Random random(1);
  using enum AttentionMask;
  const Case cases[] = {{1, 1, 1, 1, 1},
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
                        {2, 3, 0, 4, 5},
                        {2, 3, 4, 0, 5},
                        {0, 3, 4, 4, 5},
                        {2, 0, 4, 4, 5}};
  for (const Case& c : cases) {
    const Problem problem(c, random);
    problem.check_near(problem.run_all());
  }
}

// As torch: a row that sees no key is zeros, whether a bool or -infinity says so; the lowest number of all keys is no mask but the same for all.
TEST(attention_of_rows_that_see_nothing) {
  Random random(2);
  for (const int64_t keys : {6, 40, 700}) {
    for (const AttentionMask mask : {AttentionMask::boolean, AttentionMask::added}) {
      Problem problem({1, 4, keys, 8, 20, false, mask}, random);
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
  Problem problem({1, 3, 20, 8, 20, false, AttentionMask::boolean}, random);
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
