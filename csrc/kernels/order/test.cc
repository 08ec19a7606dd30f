#include <algorithm>
#include <numeric>

#include "kernels/common/test_values.h"
#include "kernels/order/order.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

template <typename T>
bool smaller(T a, T b) {
  if constexpr (std::is_floating_point_v<T>)
    if (a != a || b != b) return a == a && b != b;  // NaN is the largest
  return a < b;
}

template <typename T>
void check_order(const AxisView& view, int64_t k, bool descending, const std::vector<T>& x, ThreadPool& pool) {
  const int64_t rows = view.outer * view.inner, step = order_scratch_bytes<T>(view.count) + 64;
  Output<T> values(rows * k), wanted(rows * k);
  Output<int64_t> indices(rows * k), places(rows * k);
  Buffer scratch(static_cast<size_t>(step * pool.threads()));
  order(view, k, descending, x.data(), values.data(), indices.data(), scratch.data(), step, pool);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t begin = row / view.inner * view.count * view.inner + row % view.inner;
    std::vector<int64_t> all(static_cast<size_t>(view.count));
    std::iota(all.begin(), all.end(), 0);
    const auto at = [&](int64_t i) { return x[static_cast<size_t>(begin + i * view.inner)]; };
    std::stable_sort(all.begin(), all.end(),
                     [&](int64_t a, int64_t b) { return descending ? smaller(at(b), at(a)) : smaller(at(a), at(b)); });
    for (int64_t i = 0; i < k; ++i) {
      const int64_t out = (row / view.inner * k + i) * view.inner + row % view.inner;
      wanted.data()[out] = at(all[static_cast<size_t>(i)]);
      places.data()[out] = all[static_cast<size_t>(i)];
    }
  }
  check_equals(values, wanted, "values");
  check_equals(indices, places, "indices");
}

template <typename T, typename Make>
void check_all(const Make& make) {
  Random random(1);
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const AxisView& view :
         {AxisView{1, 1, 1}, AxisView{3, 20, 1}, AxisView{1, 500, 1}, AxisView{2, 9, 30}, AxisView{0, 4, 1}}) {
      std::vector<T> x(static_cast<size_t>(view.outer * view.count * view.inner));
      for (T& value : x) value = make(random);
      for (const bool descending : {false, true})
        for (const int64_t k : {int64_t{0}, int64_t{1}, view.count / 2, view.count}) check_order(view, k, descending, x, pool);
    }
  }
}

TEST(order_is_stable_and_has_not_a_number_last) {
  check_all<float>([](Random& random) {
    return random.next() % 3 == 0 ? any_float(random) : static_cast<float>(random.integer(-3, 3)) * 0.0f;
  });
  check_all<float>(any_float);
  check_all<int64_t>(any_integer);
  check_all<int32_t>([](Random& random) { return static_cast<int32_t>(any_integer(random)); });
}

}  // namespace
