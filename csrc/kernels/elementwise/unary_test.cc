#include <functional>

#include "kernels/common/test_values.h"
#include "kernels/elementwise/elementwise.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

// What a function is in double, and how far the kernel's answer may be from it: `ulps` units in the last place, or `share` of |x|, whichever
// is more. These are the errors that were measured over all floats, rounded up.
struct Case {
  const char* name;
  double ulps;
  std::function<double(double)> exact;
  float alpha = 0.0f, beta = 0.0f;
  double share = 0.0;
};

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double elu(double x, double alpha) { return x > 0 || std::isnan(x) ? x : alpha * std::expm1(x); }
double bounded(double x, double low, double high) { return std::isnan(x) ? x : std::min(high, std::max(low, x)); }
constexpr double kRootTwoOverPi = 0.79788456080286535588;

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"abs", 0, [](double x) { return std::fabs(x); }},
      {"neg", 0, [](double x) { return -x; }},
      {"sign", 0, [](double x) { return double((x > 0) - (x < 0)); }},
      {"exp", 1, [](double x) { return std::exp(x); }},
      {"expm1", 1.7, [](double x) { return std::expm1(x); }},
      {"log", 0.9, [](double x) { return std::log(x); }},
      {"log1p", 0.9, [](double x) { return std::log1p(x); }},
      {"log2", 0.51, [](double x) { return std::log2(x); }},
      {"log10", 0.51, [](double x) { return std::log10(x); }},
      {"sqrt", 0.5, [](double x) { return std::sqrt(x); }},
      {"rsqrt", 1.5, [](double x) { return 1.0 / std::sqrt(x); }},
      {"reciprocal", 0.5, [](double x) { return 1.0 / x; }},
      {"square", 0.5, [](double x) { return x * x; }},
      {"erf", 1.2, [](double x) { return std::erf(x); }},
      {"sin", 1.7, [](double x) { return std::sin(x); }},
      {"cos", 1.7, [](double x) { return std::cos(x); }},
      {"tan", 3.9, [](double x) { return std::tan(x); }},
      {"atan", 1.5, [](double x) { return std::atan(x); }},
      {"asin", 2.4, [](double x) { return std::asin(x); }},
      {"acos", 1.2, [](double x) { return std::acos(x); }},
      {"sinh", 1.7, [](double x) { return std::sinh(x); }},
      {"cosh", 1.5, [](double x) { return std::cosh(x); }},
      {"tanh", 1.5, [](double x) { return std::tanh(x); }},
      {"sigmoid", 2.4, sigmoid},
      {"log_sigmoid", 1.8, [](double x) { return std::min(0.0, x) - std::log1p(std::exp(-std::fabs(x))); }},
      {"hardsigmoid", 1, [](double x) { return bounded(x + 3, 0, 6) / 6; }, 0, 0, 1e-7},
      {"hardswish", 2, [](double x) { return static_cast<float>(x) * static_cast<float>(bounded(x + 3, 0, 6)) / 6.0; }, 0, 0,
       1e-7},
      {"silu", 3, [](double x) { return x * sigmoid(x); }, 0, 0, 1e-44},
      {"gelu", 5, [](double x) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)) + 0 * x; }, 0, 0, 2e-8},
      {"gelu_tanh", 4, [](double x) { return x * sigmoid(2 * kRootTwoOverPi * (x + 0.044715 * x * x * x)); }, 0, 0, 4e-8},
      {"mish", 4, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }, 0, 0, 1e-44},
      {"relu", 0, [](double x) { return bounded(x, 0, kInf); }},
      {"relu6", 0, [](double x) { return bounded(x, 0, 6); }},
      {"leaky_relu", 0.5, [](double x) { return x > 0 ? x : x * 0.25; }, 0.25f},
      {"elu", 2.5, [](double x) { return elu(x, 1.3f); }, 1.3f},
      {"celu", 3.5, [](double x) { return elu(x / 0.7f, 0.7f) * (x > 0 ? 0.7f : 1.0); }, 0.7f},
      {"selu", 3.5, [](double x) { return 1.0507009873554805 * elu(x, 1.6732632423543772); }},
      {"softplus", 3,
       [](double x) { return x * 1.5 > 20 ? x : std::log1p(std::exp(double{static_cast<float>(x) * 1.5f})) / 1.5; }, 1.5f, 20.0f},
      {"softsign", 1.5, [](double x) { return x / (1 + std::fabs(x)); }},
      {"hardshrink", 0, [](double x) { return x >= -0.5 && x <= 0.5 ? 0 : x; }, 0.5f},
      {"softshrink", 0.5, [](double x) { return x > 0.5    ? x - 0.5
                                                : x < -0.5 ? x + 0.5
                                                           : x * 0.0; }, 0.5f},
      {"tanhshrink", 1, [](double x) { return x - std::tanh(x); }, 0, 0, 1.5e-7},
      {"threshold", 0, [](double x) { return x <= 0.5 ? 7 : x; }, 0.5f, 7.0f},
      {"clamp", 0, [](double x) { return bounded(x, -1, 2); }, -1.0f, 2.0f},
      {"floor", 0, [](double x) { return std::floor(x); }},
      {"ceil", 0, [](double x) { return std::ceil(x); }},
      {"round", 0, [](double x) { return std::nearbyint(x); }},
      {"trunc", 0, [](double x) { return std::trunc(x); }},
      {"frac", 0, [](double x) { return x - std::trunc(x); }},
  };
  return all;
}

UnaryParams params_of(const Case& c) { return {*find_unary(c.name), ElementType::f32, c.alpha, c.beta, 0, 0}; }

// Floats from all over the range, as many of each size, and those around zero and one.
std::vector<float> sweep() {
  std::vector<float> all = special_floats();
  for (uint64_t bits = 0; bits <= 0xffffffffu; bits += emulated() ? 1000003 : 40009)
    all.push_back(float_of_bits(static_cast<uint32_t>(bits)));
  for (int i = 0; i < rounds(30000); ++i) all.push_back(static_cast<float>(i - rounds(15000)) * 4e-4f);
  return all;
}

TEST(elementwise_selection) { check_selection(elementwise_kernels(), select_elementwise); }

TEST(unary_has_every_function) {
  size_t functions = 0;
  for (int i = 0; i <= static_cast<int>(UnaryFunction::frac); ++i) {
    size_t found = 0;
    for (const Case& c : cases()) found += find_unary(c.name) == static_cast<UnaryFunction>(i);
    CHECK_EQ(found, 1u);
    functions += found;
  }
  CHECK_EQ(functions, cases().size());
  CHECK(!find_unary("softmax"));
}

TEST(unary_against_double_and_the_reference) {
  const std::vector<float> x = sweep();
  const auto count = static_cast<int64_t>(x.size());
  for (const Case& c : cases()) {
    Output<float> reference(count);
    elementwise_kernels()[0].unary(params_of(c), x.data(), reference.data(), count);
    double worst = 0.0;
    size_t where = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double exact = c.exact(static_cast<double>(x[i]));
      const float found = reference[static_cast<int64_t>(i)];
      if (std::fabs(static_cast<double>(found) - exact) <= c.share * std::fabs(x[i])) continue;
      const double error = ulps(found, exact);
      if (!(error <= worst)) worst = error, where = i;
    }
    if (!(worst <= c.ulps)) {
      std::ostringstream message;
      message << c.name << "(" << x[where] << ") is " << reference[static_cast<int64_t>(where)] << " instead of "
              << c.exact(static_cast<double>(x[where])) << ": " << worst << " ulp, " << c.ulps << " are allowed";
      fail(__FILE__, __LINE__, message.str());
    }
    for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
      Output<float> out(count);
      kernel->unary(params_of(c), x.data(), out.data(), count);
      check_equals(out, reference, std::string(c.name) + " of " + kernel->name);
    }
  }
}

TEST(unary_of_any_length_in_place_and_with_threads) {
  Random random(1);
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const int64_t count : {0, 1, 3, 15, 16, 17, 31, 33, 100, 30001}) {
        for (const char* name : {"gelu", "sin", "log", "tanh"}) {
          const UnaryParams params{*find_unary(name), ElementType::f32, 0, 0, 0, 0};
          const std::vector<float> x = any_floats(random, count);
          Output<float> wanted(count), out(count), in_place(count);
          elementwise_kernels()[0].unary(params, x.data(), wanted.data(), count);
          unary(*kernel, params, x.data(), out.data(), count, pool);
          check_equals(out, wanted, std::string(name) + " of " + kernel->name);
          std::copy(x.begin(), x.end(), in_place.data());
          unary(*kernel, params, in_place.data(), in_place.data(), count, pool);
          check_equals(in_place, wanted, std::string(name) + " in place, of " + kernel->name);
        }
      }
    }
  }
}

TEST(unary_that_asks) {
  const float x[] = {0.0f, -0.0f, 1e-45f, 3.4e38f, kInf, -kInf, kNaN, -kNaN, 1.0f};
  const std::pair<const char*, std::vector<uint8_t>> wanted[] = {
      {"isnan", {0, 0, 0, 0, 0, 0, 1, 1, 0}}, {"isinf", {0, 0, 0, 0, 1, 1, 0, 0, 0}}, {"isfinite", {1, 1, 1, 1, 0, 0, 0, 0, 1}}};
  ThreadPool pool(1);
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    for (const auto& [name, answers] : wanted) {
      Output<uint8_t> out(9);
      unary(*kernel, {*find_unary(name), ElementType::f32, 0, 0, 0, 0}, x, out.data(), 9, pool);
      for (int64_t i = 0; i < 9; ++i) CHECK_EQ(out[i], answers[static_cast<size_t>(i)]);
      CHECK(out.guard_intact());
    }
  }
}

template <typename T>
void check_integers(ElementType type) {
  const T low = std::numeric_limits<T>::lowest(), high = std::numeric_limits<T>::max();
  const std::vector<T> x = {0, 1, -1, 5, -7, 46341, low, high, static_cast<T>(low + 1)};
  const T square = static_cast<T>(uint64_t{46341} * 46341);  // past the range of int32
  const std::pair<const char*, std::vector<T>> wanted[] = {
      {"abs", {0, 1, 1, 5, 7, 46341, low, high, high}}, {"neg", {0, -1, 1, -5, 7, -46341, low, static_cast<T>(low + 1), high}},
      {"sign", {0, 1, -1, 1, -1, 1, -1, 1, -1}},        {"square", {0, 1, 1, 25, 49, square, 0, 1, 1}},
      {"relu", {0, 1, 0, 5, 0, 46341, 0, high, 0}},     {"clamp", {0, 1, -1, 4, -3, 4, -3, 4, -3}},
  };
  ThreadPool pool(1);
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    for (const auto& [name, answers] : wanted) {
      Output<T> out(static_cast<int64_t>(x.size()));
      unary(*kernel, {*find_unary(name), type, 0, 0, -3, 4}, x.data(), out.data(), out.size(), pool);
      for (size_t i = 0; i < x.size(); ++i) CHECK_EQ(out[static_cast<int64_t>(i)], answers[i]);
      CHECK(out.guard_intact());
    }
  }
}

TEST(unary_of_integers_and_bool) {
  check_integers<int64_t>(ElementType::i64);
  check_integers<int32_t>(ElementType::i32);
  ThreadPool pool(1);
  for (const ElementwiseKernel* kernel : runnable(elementwise_kernels())) {
    const uint8_t x[] = {0, 1, 1, 0, 0};
    Output<uint8_t> out(5);
    unary(*kernel, {UnaryFunction::logical_not, ElementType::boolean, 0, 0, 0, 0}, x, out.data(), 5, pool);
    for (int64_t i = 0; i < 5; ++i) CHECK_EQ(out[i], 1 - x[i]);
  }
}

}  // namespace
