#include "kernels/rows/plain.h"

#include <numeric>

#include "kernels/common/test_values.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

using Sizes = std::vector<int64_t>;

TEST(reduce_of_integers_and_bool) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    const std::vector<int64_t> x = {1, -2, 3, INT64_MAX, 5, 6, 7, 8, -9, 10, 11, INT64_MIN};  // [2, 3, 2]
    const auto check = [&](PlainFunction function, const Sizes& gone, const std::vector<int64_t>& wanted) {
      Output<int64_t> out(std::ssize(wanted));
      const Reduction reduction = Reduction::of(Sizes{2, 3, 2}, gone);
      CHECK_EQ(reduction.outputs, out.size());
      reduce_plain(function, reduction, x.data(), out.data(), pool);
      for (int64_t i = 0; i < out.size(); ++i) CHECK_EQ(out[i], wanted[static_cast<size_t>(i)]);
      CHECK(out.guard_intact());
    };
    check(PlainFunction::max, {}, {INT64_MAX});
    check(PlainFunction::min, {0, 2}, {-2, -9, INT64_MIN});
    check(PlainFunction::max, {2}, {1, INT64_MAX, 6, 8, 10, 11});
    check(PlainFunction::sum, {1},
          {9, static_cast<int64_t>(uint64_t{INT64_MAX} + 4), 9, static_cast<int64_t>(uint64_t{1} << 63) + 18});
    check(PlainFunction::sum, {0}, {8, 6, -6, static_cast<int64_t>(uint64_t{INT64_MAX} + 10), 16, INT64_MIN + 6});
    const uint8_t bools[] = {0, 0, 1, 0, 1, 1};  // [3, 2]
    Output<uint8_t> out(3);
    reduce_plain(PlainFunction::any, Reduction::of(Sizes{3, 2}, Sizes{1}), bools, out.data(), pool);
    for (int64_t i = 0; i < 3; ++i) CHECK_EQ(out[i], i == 0 ? 0 : 1);
    reduce_plain(PlainFunction::all, Reduction::of(Sizes{3, 2}, Sizes{1}), bools, out.data(), pool);
    for (int64_t i = 0; i < 3; ++i) CHECK_EQ(out[i], i == 2 ? 1 : 0);
    reduce_plain(PlainFunction::all, Reduction::of(Sizes{3, 0}, Sizes{1}), bools, out.data(), pool);
    for (int64_t i = 0; i < 3; ++i) CHECK_EQ(out[i], 1);
    Output<int64_t> nothing(1);
    reduce_plain(PlainFunction::sum, Reduction::of(Sizes{0}, Sizes{}), x.data(), nothing.data(), pool);
    CHECK_EQ(nothing[0], 0);
  }
}

TEST(arg_reduce_takes_the_first_and_not_a_number_wins) {
  ThreadPool pool(2);
  const auto best = [&](const std::vector<float>& x, bool largest) {
    Output<int64_t> out(1);
    arg_reduce(AxisView{1, std::ssize(x), 1}, largest, x.data(), out.data(), sizeof(out[0]), pool);
    return out[0];
  };
  CHECK_EQ(best({1, 5, 2, 5}, true), 1);
  CHECK_EQ(best({1, 5, 1, 0, 0}, false), 3);
  CHECK_EQ(best({1, kNaN, 7, kNaN}, true), 1);
  CHECK_EQ(best({1, kNaN, -kInf}, false), 1);
  CHECK_EQ(best({kNaN, 3}, true), 0);
  CHECK_EQ(best({-0.0f, 0.0f}, true), 0);
  CHECK_EQ(best({-kInf, -kInf}, true), 0);
  const std::vector<int64_t> x = {4, 1, 4, 9, 2, 9};  // [1, 2, 3] along the middle
  Output<int64_t> out(3);
  arg_reduce(AxisView{1, 2, 3}, true, x.data(), out.data(), sizeof(out[0]), pool);
  CHECK_EQ(out[0], 1);
  CHECK_EQ(out[1], 1);
  CHECK_EQ(out[2], 1);
  arg_reduce(AxisView{2, 3, 1}, true, x.data(), out.data(), sizeof(out[0]), pool);
  CHECK_EQ(out[0], 0);
  CHECK_EQ(out[1], 0);
}

// Against the definition: where the axis lies last, and where many columns are gone through together.
TEST(arg_reduce_of_every_shape_and_type_of_place) {
  Random random(3);
  ThreadPool pool(3);
  for (const AxisView& view :
       {AxisView{3, 21, 700}, AxisView{1, 300, 257}, AxisView{5, 40, 1}, AxisView{2, 1, 3}, AxisView{0, 4, 9}}) {
    std::vector<float> x(static_cast<size_t>(view.outer * view.count * view.inner));
    for (float& each : x) each = random.next() % 40 == 0 ? kNaN : static_cast<float>(random.next() % 9) - 4;
    std::vector<int32_t> integers(x.size());
    for (size_t i = 0; i < x.size(); ++i) integers[i] = x[i] == x[i] ? static_cast<int32_t>(x[i]) : INT32_MIN;
    const int64_t made = view.outer * view.inner;
    for (const bool largest : {true, false}) {
      Output<int64_t> wide(made), wanted(made), of_integers(made), wanted_of_integers(made);
      Output<int32_t> middle(made), wanted_middle(made);
      Output<uint8_t> narrow(made), wanted_narrow(made);
      for (int64_t i = 0; i < made; ++i) {
        const auto at = [&](const auto& data, int64_t k) {
          return data[static_cast<size_t>((i / view.inner * view.count + k) * view.inner + i % view.inner)];
        };
        int64_t best = 0, best_integer = 0;
        for (int64_t k = 1; k < view.count; ++k) {
          const float a = at(x, k), b = at(x, best);
          if (b == b && (a != a || (largest ? a > b : a < b))) best = k;
          const int32_t c = at(integers, k), d = at(integers, best_integer);
          if (largest ? c > d : c < d) best_integer = k;
        }
        wanted.data()[i] = best, wanted_of_integers.data()[i] = best_integer;
        wanted_middle.data()[i] = static_cast<int32_t>(best), wanted_narrow.data()[i] = static_cast<uint8_t>(best & 255);
      }
      arg_reduce(view, largest, x.data(), wide.data(), sizeof(wide[0]), pool);
      arg_reduce(view, largest, x.data(), middle.data(), sizeof(middle[0]), pool);
      arg_reduce(view, largest, x.data(), narrow.data(), sizeof(narrow[0]), pool);
      arg_reduce(view, largest, integers.data(), of_integers.data(), sizeof(of_integers[0]), pool);
      check_equals(wide, wanted, "int64 places");
      check_equals(middle, wanted_middle, "int32 places");
      check_equals(narrow, wanted_narrow, "places of a byte");
      check_equals(of_integers, wanted_of_integers, "places of integers");
    }
  }
}

TEST(cumsum_and_cumprod_go_in_order) {
  Random random(1);
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const Sizes& s : {Sizes{1, 7, 1}, Sizes{3, 20, 1}, Sizes{2, 9, 50}, Sizes{4, 0, 2}, Sizes{1, 30, 3000}}) {
      const int64_t count = s[0] * s[1] * s[2];
      const AxisView view{s[0], s[1], s[2]};
      std::vector<float> x = reals(random, count);
      Output<float> out(count), sums(count), products(count);
      for (int64_t i = 0; i < count; ++i) {
        const float each = x[static_cast<size_t>(i)];
        const bool first = i / s[2] % s[1] == 0;
        sums.data()[i] = first ? each : sums[i - s[2]] + each;
        products.data()[i] = first ? each : products[i - s[2]] * each;
      }
      cumprod(view, x.data(), out.data(), pool);
      check_equals(out, products, "cumprod");
      cumsum(view, x.data(), out.data(), pool);
      check_equals(out, sums, "cumsum");
      cumsum(view, x.data(), x.data(), pool);
      for (int64_t i = 0; i < count; ++i) CHECK(same(x[static_cast<size_t>(i)], sums[i]));
    }
    const int64_t x[] = {INT64_MAX, 1, 1, 3};
    Output<int64_t> out(4);
    cumsum(AxisView{1, 3, 1}, x, out.data(), pool);
    CHECK_EQ(out[2], INT64_MIN + 1);
    cumprod(AxisView{1, 4, 1}, x, out.data(), pool);
    CHECK_EQ(out[3], INT64_MAX - 2);
  }
}

TEST(cumextreme_has_the_last_of_equals_and_keeps_not_a_number) {
  ThreadPool pool(2);
  const auto check = [&](bool largest, std::vector<float> x, const std::vector<float>& values,
                         const std::vector<int64_t>& places) {
    Output<int64_t> where(std::ssize(x));
    cumextreme(AxisView{1, std::ssize(x), 1}, largest, x.data(), x.data(), where.data(), pool);
    for (size_t i = 0; i < x.size(); ++i) {
      CHECK(same(x[i], values[i]));
      CHECK_EQ(where[static_cast<int64_t>(i)], places[i]);
    }
  };
  check(true, {1, 5, 2, 5, 7}, {1, 5, 5, 5, 7}, {0, 1, 1, 3, 4});
  check(false, {1, 5, 1, 0, 0}, {1, 1, 1, 0, 0}, {0, 0, 2, 3, 4});
  check(true, {1, kNaN, 7, kNaN, 9}, {1, kNaN, kNaN, kNaN, kNaN}, {0, 1, 1, 3, 3});
  check(false, {kInf, -kInf, kNaN, -kInf}, {kInf, -kInf, kNaN, kNaN}, {0, 1, 2, 2});
  const std::vector<int64_t> x = {4, 1, 4, 9, 2, 9};  // [1, 2, 3] along the middle
  Output<int64_t> out(6), where(6);
  cumextreme(AxisView{1, 2, 3}, false, x.data(), out.data(), where.data(), pool);
  CHECK_EQ(out[3], 4);
  CHECK_EQ(where[3], 0);
  CHECK_EQ(out[4], 1);
  CHECK_EQ(where[4], 0);
}

}  // namespace
