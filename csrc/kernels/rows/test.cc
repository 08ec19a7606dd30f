// reduce, softmax and the norms of float32, of every instruction set. What is plain C++: plain_test.cc.
#include <numeric>

#include "kernels/common/test_values.h"
#include "kernels/rows/rows.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

using Sizes = std::vector<int64_t>;

int64_t product(const Sizes& sizes) { return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>()); }

// The elements that become each output, in row-major order.
std::vector<std::vector<float>> gathered(const Sizes& sizes, const Sizes& gone, const std::vector<float>& x) {
  const auto goes = [&](size_t axis) {
    return gone.empty() || std::find(gone.begin(), gone.end(), static_cast<int64_t>(axis)) != gone.end();
  };
  int64_t outputs = 1;
  for (size_t axis = 0; axis < sizes.size(); ++axis) outputs *= goes(axis) ? 1 : sizes[axis];
  std::vector<std::vector<float>> all(static_cast<size_t>(outputs));
  for (size_t i = 0; i < x.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), output = 0, step = 1;
    for (size_t axis = sizes.size(); axis-- > 0; rest /= sizes[axis]) {
      if (goes(axis)) continue;
      output += rest % sizes[axis] * step;
      step *= sizes[axis];
    }
    all[static_cast<size_t>(output)].push_back(x[i]);
  }
  return all;
}

// The order of sums, said once more: sixteen partial sums, then a tree.
template <typename Add>
float in_order(const std::vector<float>& x, float start, const Add& add) {
  float partial[16];
  std::fill_n(partial, 16, start);
  for (size_t i = 0; i < x.size(); ++i) partial[i % 16] = add(partial[i % 16], x[i]);
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) partial[i] = add(partial[i], partial[i + half]);
  return partial[0];
}
float sum_in_order(const std::vector<float>& x) {
  return in_order(x, 0.0f, [](float a, float b) {
    const volatile float sum = a + b;
    return static_cast<float>(sum);
  });
}

float naive(ReduceFunction function, const std::vector<float>& x, double correction) {
  const float count = static_cast<float>(x.size());
  std::vector<float> terms;
  switch (function) {
    case ReduceFunction::sum: return sum_in_order(x);
    case ReduceFunction::mean: return sum_in_order(x) / count;
    case ReduceFunction::prod:
      return in_order(x, 1.0f, [](float a, float b) {
        const volatile float product = a * b;
        return static_cast<float>(product);
      });
    case ReduceFunction::max: return in_order(x, -kInf, [](float a, float b) { return std::isnan(a) || a > b ? a : b; });
    case ReduceFunction::min: return in_order(x, kInf, [](float a, float b) { return std::isnan(a) || a < b ? a : b; });
    case ReduceFunction::sum_abs:
      for (float v : x) terms.push_back(std::fabs(v));
      return sum_in_order(terms);
    case ReduceFunction::norm2:
      for (float v : x) terms.push_back(v * v);
      return std::sqrt(sum_in_order(terms));
    case ReduceFunction::var: {
      const float mean = sum_in_order(x) / count;
      for (float v : x) {
        const volatile float distance = v - mean;
        terms.push_back(distance * distance);
      }
      return sum_in_order(terms) / static_cast<float>(std::max(0.0, static_cast<double>(x.size()) - correction));
    }
  }
  return kNaN;
}

double exact(ReduceFunction function, const std::vector<float>& x, double correction) {
  double sum = 0, squares = 0, magnitudes = 0, all = 1, distances = 0;
  for (double v : x) sum += v, squares += v * v, magnitudes += std::fabs(v), all *= v;
  const auto count = static_cast<double>(x.size());
  for (double v : x) distances += (v - sum / count) * (v - sum / count);
  switch (function) {
    case ReduceFunction::sum: return sum;
    case ReduceFunction::mean: return sum / count;
    case ReduceFunction::prod: return all;
    case ReduceFunction::sum_abs: return magnitudes;
    case ReduceFunction::norm2: return std::sqrt(squares);
    case ReduceFunction::var: return distances / (count - correction);
    case ReduceFunction::max: return x.empty() ? kNaN : *std::max_element(x.begin(), x.end());
    case ReduceFunction::min: return x.empty() ? kNaN : *std::min_element(x.begin(), x.end());
  }
  return kNaN;
}

constexpr ReduceFunction kFunctions[] = {ReduceFunction::sum,     ReduceFunction::mean, ReduceFunction::max,
                                         ReduceFunction::min,     ReduceFunction::prod, ReduceFunction::norm2,
                                         ReduceFunction::sum_abs, ReduceFunction::var};

const std::pair<Sizes, Sizes> kReductions[] = {
    {{5}, {}},
    {{16}, {0}},
    {{1000}, {0}},
    {{3, 1}, {1}},
    {{1}, {0}},
    {{7, 40}, {1}},
    {{7, 40}, {0}},
    {{40, 3}, {0}},
    {{33, 130}, {0}},
    {{2, 65, 70}, {1}},
    {{2, 3, 5, 7}, {0, 2, 3}},
    {{2, 3, 5, 7}, {0, 2}},
    {{2, 3, 5, 7}, {1, 3}},
    {{4, 6, 300}, {0, 2}},
    {{2, 3, 1100}, {0, 2}},
    {{3, 1, 4, 1, 5, 9}, {1, 3, 5}},
    {{6, 20, 3}, {1}},
    {{2, 2, 2, 2, 2, 2, 2, 2}, {0, 2, 4, 6}},
    {{2, 2, 2, 2, 2, 2, 2, 2}, {1, 3, 5, 7}},
    {{0, 4}, {1}},
    {{4, 1, 1}, {1, 2}},
};

TEST(rows_selection) { check_selection(rows_kernels(), select_rows); }

TEST(reduce_over_any_axes) {
  Random random(1);
  for (const RowsKernel* kernel : runnable(rows_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const auto& [sizes, gone] : kReductions) {
        for (const bool wild : {false, true}) {  // wild: infinities, NaN and numbers that overflow
          const std::vector<float> x = wild ? any_floats(random, product(sizes)) : reals(random, product(sizes), -1.5f, 1.5f);
          const auto rows = gathered(sizes, gone, x);
          const Reduction reduction = Reduction::of(sizes, gone);
          CHECK_EQ(reduction.outputs, std::ssize(rows));
          for (const ReduceFunction function : kFunctions) {
            Output<float> out(reduction.outputs), wanted(reduction.outputs);
            for (size_t i = 0; i < rows.size(); ++i) {
              wanted.data()[i] = naive(function, rows[i], 1.0);
              if (wild || rows[i].size() < 2) continue;
              const double best = exact(function, rows[i], 1.0);
              double scale = 1e-30;  // what the terms add up to: errors are small beside that
              for (float v : rows[i])
                scale += function == ReduceFunction::mean ? std::fabs(v) / static_cast<double>(rows[i].size()) : v * v + 1;
              if (function == ReduceFunction::prod) scale = std::fabs(best) * static_cast<double>(rows[i].size()) + 1e-38;
              CHECK(std::fabs(static_cast<double>(wanted[static_cast<int64_t>(i)]) - best) <= 3e-7 * scale);
            }
            reduce(*kernel, function, 1.0, reduction, x.data(), out.data(), pool);
            check_equals(out, wanted, "reduce " + std::to_string(static_cast<int>(function)) + " of " + kernel->name);
          }
        }
      }
    }
  }
}

TEST(reduce_of_nothing_and_of_one) {
  ThreadPool pool(2);
  const RowsKernel& kernel = rows_kernels().back();
  const std::pair<ReduceFunction, float> wanted[] = {{ReduceFunction::sum, 0.0f},     {ReduceFunction::mean, kNaN},
                                                     {ReduceFunction::prod, 1.0f},    {ReduceFunction::norm2, 0.0f},
                                                     {ReduceFunction::sum_abs, 0.0f}, {ReduceFunction::var, kNaN}};
  for (const auto& [function, value] : wanted) {
    Output<float> out(3);
    reduce(kernel, function, 1.0, Reduction::of(Sizes{3, 0}, Sizes{1}), nullptr, out.data(), pool);
    for (int64_t i = 0; i < 3; ++i) CHECK(same(out[i], value));
  }
  const float one = 5.0f;
  Output<float> out(1);
  reduce(kernel, ReduceFunction::var, 1.0, Reduction::of(Sizes{1}, Sizes{}), &one, out.data(), pool);
  CHECK(same(out[0], kNaN));
  reduce(kernel, ReduceFunction::var, 0.0, Reduction::of(Sizes{1}, Sizes{}), &one, out.data(), pool);
  CHECK(same(out[0], 0.0f));
  reduce(kernel, ReduceFunction::mean, 0.0, Reduction::of(Sizes{}, Sizes{}), &one, out.data(), pool);
  CHECK(same(out[0], 5.0f));
}

// ---- softmax ----

std::vector<double> exact_softmax(const std::vector<float>& x, bool log) {
  const double top = *std::max_element(x.begin(), x.end());
  double sum = 0;
  for (double v : x) sum += std::exp(v - top);
  std::vector<double> all;
  for (double v : x) all.push_back(log ? v - top - std::log(sum) : std::exp(v - top) / sum);
  return all;
}

TEST(softmax_along_any_axis) {
  Random random(2);
  const Sizes shapes[] = {{1, 1, 1},   {3, 5, 1}, {2, 16, 1},   {4, 100, 1}, {1, 1000, 1},
                          {2, 21, 40}, {3, 7, 5}, {1, 40, 100}, {0, 3, 1},   {2, 17, 16}};
  for (const RowsKernel* kernel : runnable(rows_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const Sizes& s : shapes) {
        for (const bool log : {false, true}) {
          const AxisView view{s[0], s[1], s[2]};
          const std::vector<float> x = reals(random, product(s), -9.0f, 9.0f);
          Output<float> out(product(s)), reference(product(s)), in_place(product(s));
          softmax(*kernel, view, log, x.data(), out.data(), pool);
          softmax(rows_kernels()[0], view, log, x.data(), reference.data(), pool);
          check_equals(out, reference, std::string("softmax of ") + kernel->name);
          std::copy(x.begin(), x.end(), in_place.data());
          softmax(*kernel, view, log, in_place.data(), in_place.data(), pool);
          check_equals(in_place, reference, std::string("softmax in place of ") + kernel->name);
          for (int64_t row = 0; row < s[0] * s[2]; ++row) {
            const auto at = [&](int64_t i) { return (row / s[2] * s[1] + i) * s[2] + row % s[2]; };
            std::vector<float> values;
            for (int64_t i = 0; i < s[1]; ++i) values.push_back(x[static_cast<size_t>(at(i))]);
            const std::vector<double> best = exact_softmax(values, log);
            Output<float> alone(s[1]);  // the same row, side by side
            kernel->softmax_row(values.data(), alone.data(), s[1], log);
            for (int64_t i = 0; i < s[1]; ++i) {
              const double error = std::fabs(static_cast<double>(out[at(i)]) - best[static_cast<size_t>(i)]);
              CHECK(error <= (log ? 4e-6 : 3e-6 * best[static_cast<size_t>(i)]));
              CHECK(same(out[at(i)], alone[i]));
            }
          }
        }
      }
    }
  }
}

TEST(softmax_of_infinities_and_nan) {
  const std::vector<float> rows[] = {{-kInf, -kInf}, {kInf, 1}, {kNaN, 1}, {-kInf, 2, -kInf, 2}, {-100, 3.4e38f}, {1e-40f, 0}};
  const std::vector<float> wanted[] = {{kNaN, kNaN}, {kNaN, kNaN}, {kNaN, kNaN}, {0, 0.5f, 0, 0.5f}, {0, 1}, {0.5f, 0.5f}};
  for (const RowsKernel* kernel : runnable(rows_kernels())) {
    for (size_t i = 0; i < std::size(rows); ++i) {
      const std::vector<float>& x = rows[i];
      const auto count = static_cast<int64_t>(x.size());
      Output<float> out(count), columns(count);
      kernel->softmax_row(x.data(), out.data(), count, false);
      kernel->softmax_columns(x.data(), columns.data(), count, 1, 1, false);
      for (int64_t k = 0; k < count; ++k) {
        CHECK(same(out[k], wanted[i][static_cast<size_t>(k)]));
        CHECK(same(columns[k], wanted[i][static_cast<size_t>(k)]));
      }
    }
  }
}

// ---- norms ----

double exact_norm(const std::vector<float>& x, size_t at, double eps, bool centered) {
  double mean = 0, squares = 0;
  for (double v : x) mean += centered ? v / static_cast<double>(x.size()) : 0;
  for (double v : x) squares += (v - mean) * (v - mean) / static_cast<double>(x.size());
  return (x[at] - mean) / std::sqrt(squares + eps);
}

TEST(norms_of_rows) {
  Random random(3);
  for (const RowsKernel* kernel : runnable(rows_kernels())) {
    for (const int64_t count : {1, 5, 16, 100, 384, 1000}) {
      for (const bool centered : {true, false}) {
        for (const int tensors : {0, 1, 2}) {
          ThreadPool pool(1 + tensors);
          const int64_t rows = 9;
          std::vector<float> x = reals(random, rows * count, -1.0f, 3.0f);
          for (int64_t i = 0; i < count; ++i) x[static_cast<size_t>(i)] = 2.0f;  // a row without variance
          x[static_cast<size_t>(count * 2 - 1)] = kNaN;
          const std::vector<float> weight = reals(random, count), bias = reals(random, count);
          const NormParams params{
              tensors > 0 ? weight.data() : nullptr, tensors > 1 ? bias.data() : nullptr, count, 1, 1e-5f, centered};
          Output<float> out(rows * count), reference(rows * count);
          normalize(*kernel, params, rows, x.data(), out.data(), pool);
          normalize(rows_kernels()[0], params, rows, x.data(), reference.data(), pool);
          check_equals(out, reference, std::string("norm of ") + kernel->name);
          for (int64_t row = 0; row < rows; ++row) {
            const std::vector<float> own(x.begin() + row * count, x.begin() + (row + 1) * count);
            for (int64_t i = 0; i < count; ++i) {
              const auto at = static_cast<size_t>(i);
              double best = exact_norm(own, at, 1e-5, centered);
              if (tensors > 0) best *= weight[at];
              if (tensors > 1) best += bias[at];
              const float found = out[row * count + i];
              if (row == 1) CHECK(std::isnan(found));
              else CHECK(std::fabs(static_cast<double>(found) - best) <= 2e-6 * (1 + std::fabs(best)));
            }
          }
          std::vector<float> in_place = x;
          normalize(*kernel, params, rows, in_place.data(), in_place.data(), pool);
          for (int64_t i = 0; i < rows * count; ++i) CHECK(same(in_place[static_cast<size_t>(i)], reference[i]));
        }
      }
    }
  }
}

TEST(group_norm_has_a_weight_for_each_channel) {
  Random random(4);
  const int64_t shapes[][4] = {
      {2, 6, 3, 35}, {1, 8, 8, 1}, {3, 4, 1, 16}, {2, 32, 4, 49}, {0, 4, 2, 3}};  // images, channels, groups, inner
  for (const RowsKernel* kernel : runnable(rows_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const auto& s : shapes) {
        const int64_t images = s[0], channels = s[1], groups = s[2], inner = s[3], count = channels / groups * inner;
        const std::vector<float> x = reals(random, images * channels * inner), weight = reals(random, channels),
                                 bias = reals(random, channels);
        Output<float> out(images * channels * inner), plain(images * channels * inner);
        group_norm(*kernel, {weight.data(), bias.data(), count, inner, 1e-3f, true}, images, channels, groups, x.data(),
                   out.data(), pool);
        normalize(rows_kernels()[0], {nullptr, nullptr, count, 1, 1e-3f, true}, images * groups, x.data(), plain.data(), pool);
        for (int64_t i = 0; i < out.size(); ++i) {
          const auto channel = static_cast<size_t>(i / inner % channels);
          const volatile float scaled = plain[i] * weight[channel];
          plain.data()[i] = scaled + bias[channel];
        }
        check_equals(out, plain, std::string("group_norm of ") + kernel->name);
      }
    }
  }
}

}  // namespace
