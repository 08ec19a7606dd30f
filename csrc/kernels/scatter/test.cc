#include "kernels/scatter/scatter.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/status.h"
#include "kernels/common/test_values.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

using Sizes = std::vector<int64_t>;

int64_t count_of(const Sizes& sizes) {
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  return count;
}

// Where an element lies; along dims of 1 all lie at 0.
int64_t offset(const Sizes& sizes, const Sizes& at) {
  int64_t index = 0;
  for (size_t i = 0; i < sizes.size(); ++i) index = index * sizes[i] + (sizes[i] == 1 ? 0 : at[i]);
  return index;
}

float apply(ScatterFunction function, float a, float b) {
  switch (function) {
    case ScatterFunction::add: return a + b;
    case ScatterFunction::mul: return a * b;
    case ScatterFunction::max: return std::isnan(a) || std::isnan(b) ? kNaN : std::max(a, b);
    case ScatterFunction::min: return std::isnan(a) || std::isnan(b) ? kNaN : std::min(a, b);
    default: return b;
  }
}

TEST(scatter_goes_in_order) {
  Random random(3);
  for (int round = 0; round < 400; ++round) {
    Sizes data, updates, indices;
    const auto rank = static_cast<size_t>(random.integer(1, 5)), axis = random.next() % rank;
    for (size_t i = 0; i < rank; ++i) {
      data.push_back(random.integer(1, round % 20 == 0 ? 30 : 5));
      updates.push_back(i == axis ? random.integer(0, 9) : random.integer(random.integer(0, 1), static_cast<int32_t>(data[i])));
      indices.push_back(random.integer(0, 2) == 0 ? 1 : updates[i]);
    }
    const auto function = static_cast<ScatterFunction>(round % 5);
    const std::vector<float> x = reals(random, count_of(data)), u = reals(random, count_of(updates));
    std::vector<int64_t> where(static_cast<size_t>(count_of(indices)));
    for (int64_t& index : where) index = random.integer(0, static_cast<int32_t>(data[axis] - 1));
    Output<float> wanted(count_of(data));
    std::copy(x.begin(), x.end(), wanted.data());
    Sizes at(rank, 0);
    for (int64_t left = count_of(updates); left > 0; --left) {
      Sizes to = at;
      to[axis] = where[static_cast<size_t>(offset(indices, at))];
      float& element = wanted.data()[offset(data, to)];
      element = apply(function, element, u[static_cast<size_t>(offset(updates, at))]);
      for (size_t i = rank; i-- > 0;) {
        if (++at[i] < updates[i]) break;
        at[i] = 0;
      }
    }
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      Output<float> out(count_of(data));
      std::copy(x.begin(), x.end(), out.data());
      scatter(u.data(), where.data(), out.data(), {data, indices, updates, static_cast<int>(axis), function, "s (scatter)"},
              pool);
      check_equals(out, wanted, "scatter");
    }
  }
}

TEST(scatter_of_other_types) {
  ThreadPool pool(1);
  const Sizes two = {2}, three = {3};
  const std::vector<int64_t> where = {1, 1, 0};
  const auto run = [&](auto data, auto updates, ScatterFunction function) {
    scatter(updates.data(), where.data(), data.data(), {two, three, three, 0, function, "s"}, pool);
    return data;
  };
  using I64 = std::vector<int64_t>;
  CHECK(run(I64{0, INT64_MAX}, I64{1, 1, 5}, ScatterFunction::add) == I64({5, INT64_MIN + 1}));
  CHECK(run(I64{4, 3}, I64{2, 5, -1}, ScatterFunction::mul) == I64({-4, 30}));
  using I32 = std::vector<int32_t>;
  CHECK(run(I32{4, 3}, I32{2, 7, -1}, ScatterFunction::max) == I32({4, 7}));
  using Bytes = std::vector<uint8_t>;
  CHECK(run(Bytes{1, 1}, Bytes{0, 1, 0}, ScatterFunction::set) == Bytes({0, 1}));
  const std::vector<float> least = run(std::vector<float>{kNaN, 1}, std::vector<float>{2, kNaN, 3}, ScatterFunction::min);
  CHECK(std::isnan(least[0]) && std::isnan(least[1]));
}

// Far outside of the data, so that a write would end the program.
TEST(scatter_refuses_indices_out_of_range) {
  ThreadPool pool(2);
  std::vector<float> data(12, 1.0f);
  const std::vector<float> updates(2, 5.0f);
  const Sizes sizes = {4, 3}, shape = {2, 1};
  const int64_t wrong[] = {4, -1, INT64_MAX, INT64_MIN};
  for (const int64_t index : wrong) {
    const std::vector<int64_t> indices = {0, index};
    CHECK_THROWS(
        scatter(updates.data(), indices.data(), data.data(), {sizes, shape, shape, 0, ScatterFunction::add, "s (scatter)"}, pool),
        "s (scatter): the index " + std::to_string(index) + " is out of range; it must be 0 to 3.");
  }
  const Sizes empty = {0}, one = {1};
  const int64_t zero = 0;
  CHECK_THROWS(scatter(updates.data(), &zero, data.data(), {empty, one, one, 0, ScatterFunction::set, "s"}, pool),
               "there are no elements to write to.");
}

}  // namespace
