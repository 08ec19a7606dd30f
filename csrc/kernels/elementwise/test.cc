// Functions of two elements, where, cast, channel_affine, and how values are broadcast. Functions of one: unary_test.cc.
#include <functional>
#include <numeric>

#include "kernels/common/test_values.h"
#include "kernels/elementwise/elementwise.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

using Shape = std::vector<int64_t>;

int64_t count_of(const Shape& shape) { return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>()); }

// Of the element at `index` of a value of shape `out`: which element of one of shape `in` it meets, by numpy's rules.
int64_t met(int64_t index, const Shape& out, const Shape& in) {
  int64_t at = 0, step = 1;
  for (size_t back = 1; back <= out.size(); ++back) {
    const int64_t size = out[out.size() - back], place = index % size;
    index /= size;
    if (back > in.size()) continue;
    const int64_t own = in[in.size() - back];
    if (own != 1) at += place * step;
    step *= own;
  }
  return at;
}

Shape both(const Shape& a, const Shape& b) {
  Shape out = a.size() > b.size() ? a : b;
  for (const Shape* in : {&a, &b})
    for (size_t back = 1; back <= in->size(); ++back)
      if ((*in)[in->size() - back] != 1) out[out.size() - back] = (*in)[in->size() - back];
  return out;
}

Nest nest_of(const Shape& out, const std::vector<Shape>& in) {
  std::vector<std::span<const int64_t>> spans(in.begin(), in.end());
  return Nest::of(out, spans);
}

// Shapes of an output and three inputs.
const std::vector<std::vector<Shape>>& broadcasts() {
  static const std::vector<std::vector<Shape>> all = {
      {{}, {}, {}, {}},
      {{5}, {5}, {5}, {5}},
      {{37}, {37}, {1}, {}},
      {{37}, {}, {37}, {1}},
      {{6, 33}, {6, 33}, {33}, {6, 1}},
      {{6, 33}, {6, 1}, {1, 33}, {6, 33}},
      {{2, 3, 4, 19}, {2, 3, 4, 19}, {3, 1, 1}, {4, 1}},
      {{2, 3, 4, 19}, {2, 1, 4, 1}, {1, 3, 1, 19}, {1, 1, 1, 1}},
      {{3, 2, 1, 4, 1, 5}, {3, 1, 1, 4, 1, 1}, {2, 1, 1, 1, 5}, {3, 2, 1, 4, 1, 5}},
      {{4, 1, 17}, {4, 1, 17}, {4, 1, 17}, {4, 1, 1}},
      {{3, 0, 5}, {3, 0, 5}, {5}, {3, 1, 1}},
      {{40, 700}, {40, 700}, {40, 700}, {700}},
      {{2, 2, 2, 2, 2, 2, 2, 3}, {2, 1, 2, 1, 2, 1, 2, 1}, {1, 2, 1, 2, 1, 2, 1, 3}, {2, 2, 2, 2, 2, 2, 2, 3}},
  };
  return all;
}

TEST(nest_has_as_few_axes_as_it_can) {
  CHECK_EQ(nest_of({2, 3, 4}, {{2, 3, 4}, {2, 3, 4}}).rows(), 1);
  CHECK_EQ(nest_of({2, 3, 4}, {{2, 3, 4}, {}}).rows(), 1);
  const Nest channels = nest_of({2, 3, 4, 5}, {{2, 3, 4, 5}, {3, 1, 1}});
  CHECK_EQ(channels.axes.size(), 3u);
  CHECK_EQ(channels.axes[2].size, 20);
  CHECK_EQ(channels.axes[2].steps[1], 0);
  CHECK_EQ(channels.axes[1].steps[1], 1);
  CHECK_EQ(nest_of({2, 3, 4}, {{2, 3, 4}, {4}}).axes.size(), 2u);
  CHECK_EQ(nest_of({1, 1}, {{1, 1}, {}}).axes.size(), 2u);
}

struct Function {
  const char* name;
  std::function<double(double, double)> exact;
  double ulps;
};

double floor_divided(double x, double y) {
  if (y == 0) return x / y;
  const double rest = std::fmod(x, y);
  return std::nearbyint((x - rest) / y) - (rest != 0 && (y < 0) != (rest < 0) ? 1.0 : 0.0);
}
double remainder_of(double x, double y) {
  const double rest = std::fmod(x, y);
  return rest != 0 && (y < 0) != (rest < 0) ? rest + y : rest;
}

const std::vector<Function>& functions() {
  static const std::vector<Function> all = {
      {"add", [](double x, double y) { return x + y; }, 0.5},
      {"sub", [](double x, double y) { return x - y; }, 0.5},
      {"mul", [](double x, double y) { return x * y; }, 0.5},
      {"div", [](double x, double y) { return x / y; }, 0.5},
      {"floor_div", floor_divided, 2},
      {"trunc_div", [](double x, double y) { return std::trunc(double{static_cast<float>(x / y)}); }, 0},
      {"remainder", remainder_of, 0.5},
      {"fmod", [](double x, double y) { return std::fmod(x, y); }, 0},
      {"pow", [](double x, double y) { return std::pow(x, y); }, 0.51},
      {"maximum", [](double x, double y) { return std::isnan(x) || x > y ? x : y; }, 0},
      {"minimum", [](double x, double y) { return std::isnan(x) || x < y ? x : y; }, 0},
      {"atan2", [](double x, double y) { return std::atan2(x, y); }, 2},
      {"prelu", [](double x, double y) { return x > 0 ? x : x * y; }, 0.5},
  };
  return all;
}

TEST(binary_against_double_and_the_reference) {
  Random random(2);
  const int64_t count = rounds(200000);
  std::vector<float> x = any_floats(random, count), y = any_floats(random, count);
  for (const float a : special_floats())  // each with each
    for (const float b : special_floats()) x.push_back(a), y.push_back(b);
  const auto all = static_cast<int64_t>(x.size());
  const BlockSize size{1, all, all};
  const OperandRows a{x.data(), all, false}, b{y.data(), all, false};
  for (const Function& function : functions()) {
    Output<float> reference(all);
    elementwise_kernels()[0].binary(*find_binary(function.name), ElementType::f32, a, b, reference.data(), size);
    for (int64_t i = 0; i < all; ++i) {
      const auto at = static_cast<size_t>(i);
      const double exact = function.exact(static_cast<double>(x[at]), static_cast<double>(y[at]));
      if (ulps(reference[i], exact) <= function.ulps) continue;
      std::ostringstream message;
      message << function.name << "(" << x[at] << ", " << y[at] << ") is " << reference[i] << " instead of " << exact;
      fail(__FILE__, __LINE__, message.str());
    }
    for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
      Output<float> out(all);
      kernel->binary(*find_binary(function.name), ElementType::f32, a, b, out.data(), size);
      check_equals(out, reference, std::string(function.name) + " of " + kernel->name);
    }
  }
}

TEST(binary_is_broadcast_with_threads_and_in_place) {
  Random random(3);
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const auto& shapes : broadcasts()) {
        for (const size_t first : {1, 2}) {
          const Shape &a_shape = shapes[first], &b_shape = shapes[first + 1], full = both(a_shape, b_shape);
          const std::vector<float> a = reals(random, count_of(a_shape)), b = reals(random, count_of(b_shape));
          const int64_t count = count_of(full);
          Output<float> out(count), wanted(count);
          Output<uint8_t> less(count), wanted_less(count);
          for (int64_t i = 0; i < count; ++i) {
            const float x = a[static_cast<size_t>(met(i, full, a_shape))], y = b[static_cast<size_t>(met(i, full, b_shape))];
            wanted.data()[i] = x - y;
            wanted_less.data()[i] = x < y;
          }
          const Nest nest = nest_of(full, {a_shape, b_shape});
          CHECK(binary(*kernel, BinaryFunction::sub, ElementType::f32, nest, a.data(), b.data(), out.data(), pool));
          check_equals(out, wanted, kernel->name);
          CHECK(binary(*kernel, BinaryFunction::lt, ElementType::f32, nest, a.data(), b.data(), less.data(), pool));
          check_equals(less, wanted_less, kernel->name);
          if (a_shape != full) continue;
          Output<float> in_place(count);
          std::copy(a.begin(), a.end(), in_place.data());
          binary(*kernel, BinaryFunction::sub, ElementType::f32, nest, in_place.data(), b.data(), in_place.data(), pool);
          check_equals(in_place, wanted, std::string(kernel->name) + " in place");
        }
      }
    }
  }
}

__extension__ typedef __int128 Wide;  // holds what int64 overflows with

template <typename T>
T wrapped(Wide value) {
  return static_cast<T>(static_cast<uint64_t>(value));
}

template <typename T>
void check_integers(ElementType type) {
  Random random(4);
  std::vector<T> x, y;
  const T ends[] = {0, 1, -1, 7, -7, 2, -2, std::numeric_limits<T>::lowest(), std::numeric_limits<T>::max()};
  for (const T a : ends)
    for (const T b : ends) x.push_back(a), y.push_back(b);
  for (int i = 0; i < 1000; ++i)
    x.push_back(static_cast<T>(any_integer(random))), y.push_back(static_cast<T>(any_integer(random)));
  const auto floor_div = [](Wide a, Wide b) { return a / b - (a % b != 0 && (a < 0) != (b < 0) ? 1 : 0); };
  const std::pair<const char*, std::function<T(Wide, Wide)>> wanted[] = {
      {"add", [](Wide a, Wide b) { return wrapped<T>(a + b); }},
      {"sub", [](Wide a, Wide b) { return wrapped<T>(a - b); }},
      {"mul", [](Wide a, Wide b) { return wrapped<T>(a * b); }},
      {"floor_div", [&](Wide a, Wide b) { return wrapped<T>(floor_div(a, b)); }},
      {"trunc_div", [](Wide a, Wide b) { return wrapped<T>(a / b); }},
      {"remainder", [&](Wide a, Wide b) { return wrapped<T>(a - floor_div(a, b) * b); }},
      {"fmod", [](Wide a, Wide b) { return wrapped<T>(a % b); }},
      {"maximum", [](Wide a, Wide b) { return static_cast<T>(a > b ? a : b); }},
      {"minimum", [](Wide a, Wide b) { return static_cast<T>(a < b ? a : b); }},
      {"pow",
       [](Wide a, Wide b) {
         if (b < 0) return static_cast<T>(a == 1 ? 1 : a == -1 ? (b % 2 != 0 ? -1 : 1) : 0);
         T result = 1;
         if (b > 100) b = 100 + b % 2;  // the test's numbers to such powers are 0, 1, -1, or wrap around to 0 or to what these do
         for (Wide i = 0; i < b; ++i) result = wrapped<T>(Wide{result} * a);
         return result;
       }},
  };
  ThreadPool pool(2);
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    for (const auto& [name, exact] : wanted) {
      const BinaryFunction function = *find_binary(name);
      const bool divides = function >= BinaryFunction::floor_div && function <= BinaryFunction::fmod;
      std::vector<T> a, b;
      for (size_t i = 0; i < x.size(); ++i) {
        if (divides && y[i] == 0) continue;
        if (function == BinaryFunction::pow && y[i] > 100 && (x[i] > 1 || x[i] < -1) && x[i] % 2 != 0) continue;
        a.push_back(x[i]), b.push_back(y[i]);
      }
      const auto count = static_cast<int64_t>(a.size());
      const Nest nest = nest_of({count}, {{count}, {count}});
      Output<T> out(count), expected(count);
      for (size_t i = 0; i < a.size(); ++i) expected.data()[i] = exact(a[i], b[i]);
      CHECK(binary(*kernel, function, type, nest, a.data(), b.data(), out.data(), pool));
      check_equals(out, expected, std::string(name) + " of " + kernel->name);
      Output<T> other(static_cast<int64_t>(x.size()));
      const Nest with_zeros = nest_of({other.size()}, {{other.size()}, {other.size()}});
      if (divides) CHECK(!binary(*kernel, function, type, with_zeros, x.data(), y.data(), other.data(), pool));
    }
    Output<uint8_t> less(2);
    const T pair[] = {1, 3}, two[] = {2};
    CHECK(binary(*kernel, BinaryFunction::le, type, nest_of({2}, {{2}, {1}}), pair, two, less.data(), pool));
    CHECK_EQ(less[0], 1);
    CHECK_EQ(less[1], 0);
  }
}

TEST(binary_of_integers) {
  check_integers<int64_t>(ElementType::i64);
  check_integers<int32_t>(ElementType::i32);
}

TEST(binary_of_bool) {
  const uint8_t x[] = {0, 0, 1, 1}, y[] = {0, 1, 0, 1};
  const std::pair<const char*, std::array<uint8_t, 4>> wanted[] = {
      {"logical_and", {0, 0, 0, 1}}, {"logical_or", {0, 1, 1, 1}}, {"logical_xor", {0, 1, 1, 0}}, {"eq", {1, 0, 0, 1}},
      {"ne", {0, 1, 1, 0}},          {"maximum", {0, 1, 1, 1}},    {"minimum", {0, 0, 0, 1}}};
  ThreadPool pool(1);
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    for (const auto& [name, answers] : wanted) {
      Output<uint8_t> out(4);
      CHECK(binary(*kernel, *find_binary(name), ElementType::boolean, nest_of({4}, {{4}, {4}}), x, y, out.data(), pool));
      for (int64_t i = 0; i < 4; ++i) CHECK_EQ(out[i], answers[static_cast<size_t>(i)]);
    }
  }
}

template <typename T, typename Make>
void check_where(ElementType type, const Make& make) {
  Random random(5);
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const auto& shapes : broadcasts()) {
        for (size_t turn = 0; turn < 3; ++turn) {
          const Shape &full = shapes[0], &c_shape = shapes[1 + turn], &a_shape = shapes[1 + (turn + 1) % 3],
                      &b_shape = shapes[1 + (turn + 2) % 3];
          std::vector<uint8_t> c(static_cast<size_t>(count_of(c_shape)));
          std::vector<T> a(static_cast<size_t>(count_of(a_shape))), b(static_cast<size_t>(count_of(b_shape)));
          for (auto& value : c) value = random.next() & 1;
          for (auto& value : a) value = make(random);
          for (auto& value : b) value = make(random);
          const int64_t count = count_of(full);
          Output<T> out(count), wanted(count);
          for (int64_t i = 0; i < count; ++i)
            wanted.data()[i] = c[static_cast<size_t>(met(i, full, c_shape))] != 0 ? a[static_cast<size_t>(met(i, full, a_shape))]
                                                                                  : b[static_cast<size_t>(met(i, full, b_shape))];
          where(*kernel, type, nest_of(full, {c_shape, a_shape, b_shape}), c.data(), a.data(), b.data(), out.data(), pool);
          check_equals(out, wanted, std::string("where of ") + kernel->name);
        }
      }
    }
  }
}

TEST(where_is_broadcast) {
  check_where<float>(ElementType::f32, [](Random& random) { return any_float(random); });
  check_where<int64_t>(ElementType::i64, [](Random& random) { return any_integer(random); });
  check_where<uint8_t>(ElementType::u8, [](Random& random) { return static_cast<uint8_t>(random.next()); });
  check_where<uint8_t>(ElementType::boolean, [](Random& random) { return static_cast<uint8_t>(random.next() & 1); });
}

template <typename From, typename To>
void check_cast(ElementType from, ElementType to, const std::vector<From>& x, const std::vector<To>& wanted) {
  const auto count = static_cast<int64_t>(x.size());
  ThreadPool pool(2);
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    // Often enough for whole vectors, and some over.
    std::vector<From> many;
    Output<To> expected(count * 9), out(count * 9);
    for (int64_t i = 0; i < count * 9; ++i) {
      many.push_back(x[static_cast<size_t>(i % count)]);
      expected.data()[i] = wanted[static_cast<size_t>(i % count)];
    }
    cast(*kernel, from, to, many.data(), out.data(), count * 9, pool);
    check_equals(out, expected, std::string("cast of ") + kernel->name);
  }
}

TEST(cast_between_all_types) {
  constexpr auto f32 = ElementType::f32, i64 = ElementType::i64, i32 = ElementType::i32, boolean = ElementType::boolean;
  const std::vector<float> x = {0.0f, -0.0f, 1.9f, -1.9f, kNaN, kInf, -kInf, 1e10f, 3e9f, -2147483648.0f, 1e30f, 1e-45f};
  check_cast<float, int32_t>(f32, i32, x,
                             {0, 0, 1, -1, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, 0});
  check_cast<float, int64_t>(f32, i64, x,
                             {0, 0, 1, -1, INT64_MIN, INT64_MIN, INT64_MIN, 10000000000, 3000000000, -2147483648, INT64_MIN, 0});
  check_cast<float, uint8_t>(f32, boolean, x, {0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1});
  check_cast<float, float>(f32, f32, x, x);
  const std::vector<int64_t> y = {0, 1, -1, INT64_MAX, INT64_MIN, 4294967296 + 7, 16777217};
  check_cast<int64_t, float>(i64, f32, y,
                             {0, 1, -1, 9223372036854775808.0f, -9223372036854775808.0f, 4294967296.0f, 16777216.0f});
  check_cast<int64_t, int32_t>(i64, i32, y, {0, 1, -1, -1, 0, 7, 16777217});
  check_cast<int64_t, uint8_t>(i64, boolean, y, {0, 1, 1, 1, 1, 1, 1});
  const std::vector<int32_t> z = {0, 1, -5, INT32_MAX, INT32_MIN};
  check_cast<int32_t, float>(i32, f32, z, {0, 1, -5, 2147483648.0f, -2147483648.0f});
  check_cast<int32_t, int64_t>(i32, i64, z, {0, 1, -5, INT32_MAX, INT32_MIN});
  check_cast<int32_t, uint8_t>(i32, boolean, z, {0, 1, 1, 1, 1});
  check_cast<uint8_t, float>(boolean, f32, {0, 1}, {0, 1});
  check_cast<uint8_t, int64_t>(boolean, i64, {0, 1}, {0, 1});
  check_cast<uint8_t, int32_t>(boolean, i32, {0, 1}, {0, 1});
}

TEST(cast_of_eight_bits_keeps_the_last_of_what_is_wider) {
  constexpr auto f32 = ElementType::f32, i64 = ElementType::i64, i32 = ElementType::i32, boolean = ElementType::boolean;
  constexpr auto u8 = ElementType::u8, i8 = ElementType::i8;
  const std::vector<float> x = {0.0f,   -0.0f,         1.9f, -1.9f,  255.5f, 256.0f, -129.0f,
                                300.0f, 2147483520.0f, 3e9f, -1e30f, kNaN,   kInf};
  const std::vector<uint8_t> bytes = {0, 0, 1, 255, 255, 0, 127, 44, 128, 0, 0, 0, 0};
  check_cast<float, uint8_t>(f32, u8, x, bytes);
  check_cast<float, uint8_t>(f32, i8, x, bytes);  // the same bits
  check_cast<int64_t, uint8_t>(i64, u8, {0, 1, -1, 256, 4294967296 + 7, INT64_MIN}, {0, 1, 255, 0, 7, 0});
  check_cast<int32_t, int8_t>(i32, i8, {0, 1, -1, 128, -129, INT32_MIN}, {0, 1, -1, -128, 127, 0});
  check_cast<uint8_t, int8_t>(u8, i8, {0, 127, 128, 255}, {0, 127, -128, -1});
  check_cast<uint8_t, uint8_t>(boolean, u8, {0, 1}, {0, 1});
  check_cast<uint8_t, float>(u8, f32, {0, 1, 200, 255}, {0, 1, 200, 255});
  check_cast<uint8_t, int64_t>(u8, i64, {0, 1, 200, 255}, {0, 1, 200, 255});
  check_cast<uint8_t, int32_t>(u8, i32, {0, 1, 200, 255}, {0, 1, 200, 255});
  check_cast<uint8_t, uint8_t>(u8, boolean, {0, 1, 200, 255}, {0, 1, 1, 1});
  const std::vector<int8_t> y = {0, 1, 127, -128, -1};
  check_cast<int8_t, float>(i8, f32, y, {0, 1, 127, -128, -1});
  check_cast<int8_t, int64_t>(i8, i64, y, {0, 1, 127, -128, -1});
  check_cast<int8_t, int32_t>(i8, i32, y, {0, 1, 127, -128, -1});
  check_cast<int8_t, uint8_t>(i8, boolean, y, {0, 1, 1, 1, 1});
  check_cast<int8_t, uint8_t>(i8, u8, y, {0, 1, 127, 128, 255});
}

TEST(channel_affine_over_any_axis) {
  Random random(6);
  const Shape shapes[] = {{1, 1, 1},   {2, 3, 5}, {3, 70, 1},  {1, 7, 300},
                          {5, 16, 16}, {0, 3, 2}, {40, 300, 1}};  // outer, channels, inner
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const Shape& s : shapes) {
        const int64_t count = count_of(s);
        const std::vector<float> x = reals(random, count), gain = reals(random, s[1]), shift = reals(random, s[1]);
        Output<float> out(count), wanted(count);
        for (int64_t i = 0; i < count; ++i) {
          const auto channel = static_cast<size_t>(i / s[2] % s[1]);
          const volatile float product = x[static_cast<size_t>(i)] * gain[channel];
          wanted.data()[i] = product + shift[channel];
        }
        channel_affine(*kernel, {gain.data(), shift.data(), s[1], s[2]}, x.data(), out.data(), count, pool);
        check_equals(out, wanted, kernel->name);
      }
    }
  }
}

}  // namespace
