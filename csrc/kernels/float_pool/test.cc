#include "kernels/float_pool/float_pool.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/common/test_planes.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

// Equal to the bit, but for which NaN a NaN is.
bool same(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.size() != b.size()) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!(std::isnan(a[i]) && std::isnan(b[i])) && std::memcmp(&a[i], &b[i], 4) != 0) return false;
  return true;
}

std::vector<float> some(int64_t count, Random& random, bool odd) {
  const float values[] = {kNan, kInfinity, -kInfinity, 0.0f, -0.0f};
  std::vector<float> result(static_cast<std::size_t>(count));
  for (float& value : result) value = odd && random.integer(0, 19) == 0 ? values[random.integer(0, 4)] : random.real(-3.0f, 3.0f);
  return result;
}

// One window, in double: the elements of a box of which `size` gives what is inside of the plane.
struct Window {
  Axes3 start, kernel, dilation;
};
struct Answer {
  double sum = 0.0, magnitudes = 0.0, max = -static_cast<double>(kInfinity);
  bool nan = false;
};
Answer look(const float* plane, const Axes3& in, const Window& window) {
  Answer answer;
  for (int64_t z = 0; z < window.kernel[0]; ++z) {
    for (int64_t y = 0; y < window.kernel[1]; ++y) {
      for (int64_t x = 0; x < window.kernel[2]; ++x) {
        const Axes3 at = {window.start[0] + z * window.dilation[0], window.start[1] + y * window.dilation[1],
                          window.start[2] + x * window.dilation[2]};
        bool inside = true;
        for (std::size_t i = 0; i < 3; ++i) inside = inside && at[i] >= 0 && at[i] < in[i];
        if (!inside) continue;
        const auto value = static_cast<double>(plane[(at[0] * in[1] + at[1]) * in[2] + at[2]]);
        answer.sum += value;
        answer.magnitudes += std::abs(value);
        answer.nan = answer.nan || std::isnan(value);
        answer.max = std::max(answer.max, value);
      }
    }
  }
  return answer;
}

void check_close(float found, double wanted, double magnitudes, int64_t terms) {
  if (std::isnan(wanted) || std::isinf(wanted)) {
    CHECK(std::isnan(wanted) ? std::isnan(found) : static_cast<double>(found) == wanted);
    return;
  }
  CHECK(std::abs(static_cast<double>(found) - wanted) <= magnitudes * static_cast<double>(terms + 1) * 1.2e-7);
}

std::vector<float> run(const FloatPoolKernel& kernel, const FloatPoolParams& params, const std::vector<float>& in, int64_t planes,
                       int threads) {
  ThreadPool pool(threads);
  const FloatPool float_pool(params);
  const int64_t bytes = round_up(float_pool.scratch_bytes(), 64);
  Buffer scratch(static_cast<std::size_t>(bytes * threads));
  std::memset(scratch.data(), 0xff, scratch.size());
  std::vector<float> out(static_cast<std::size_t>(planes * volume(params.axes.out)) + 16, -7.0f);
  float_pool.run(kernel, in.data(), out.data(), planes, scratch.data(), bytes, pool);
  for (std::size_t i = out.size() - 16; i < out.size(); ++i) CHECK_EQ(out[i], -7.0f);
  out.resize(out.size() - 16);
  return out;
}

TEST(float_pool_selection) { check_selection(float_pool_kernels(), select_float_pool); }

TEST(float_pool_of_any_shape) {
  Random random(50);
  for (int round = 0; round < rounds(600); ++round) {
    const int64_t spatial = random.integer(1, 3), planes = random.integer(0, 3);
    FloatPoolParams p{round % 2 == 0 ? PoolFunction::max : PoolFunction::average,
                      {{1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}},
                      {0, 0, 0},
                      random.integer(0, 1) == 0,
                      random.integer(0, 3) == 0 ? random.integer(1, 9) : 0};
    WindowAxes& a = p.axes;
    const bool ceil = random.integer(0, 1) == 0;
    for (auto i = static_cast<std::size_t>(3 - spatial); i < 3; ++i) {
      a.kernel[i] = random.integer(1, 4), a.stride[i] = random.integer(1, 3);
      a.dilation[i] = p.function == PoolFunction::max ? random.integer(1, 2) : 1;
      a.before[i] = random.integer(0, static_cast<int32_t>(a.kernel[i] / 2)),
      p.behind[i] = random.integer(0, static_cast<int32_t>(a.kernel[i] / 2));
      const bool far = p.function == PoolFunction::max && random.integer(0, 3) == 0;  // taps that see nothing of the image
      if (far) a.dilation[i] = random.integer(10, 60);
      const int64_t reach = (a.kernel[i] - 1) * a.dilation[i] + 1;
      a.in[i] = far ? random.integer(1, 20) : reach + random.integer(0, spatial == 1 ? 80 : 12);
      if (far) {
        a.before[i] = random.integer(0, static_cast<int32_t>(reach));
        p.behind[i] = std::max<int64_t>(0, reach - a.before[i] - a.in[i]) + random.integer(0, 9);
      }
      a.out[i] = (a.in[i] + a.before[i] + p.behind[i] - reach + (ceil ? a.stride[i] - 1 : 0)) / a.stride[i] + 1;
      if (ceil && (a.out[i] - 1) * a.stride[i] >= a.in[i] + a.before[i]) --a.out[i];
    }
    const std::vector<float> in = some(planes * volume(a.in), random, round % 4 < 2);
    const std::vector<float> reference = run(float_pool_kernels()[0], p, in, planes, 1);
    std::size_t index = 0;
    for (int64_t plane = 0; plane < planes; ++plane) {
      for (int64_t z = 0; z < a.out[0]; ++z) {
        for (int64_t y = 0; y < a.out[1]; ++y) {
          for (int64_t x = 0; x < a.out[2]; ++x, ++index) {
            const Axes3 at = {z, y, x};
            Window window{{}, a.kernel, a.dilation};
            int64_t counted = 1;
            for (std::size_t i = 0; i < 3; ++i) {
              window.start[i] = at[i] * a.stride[i] - a.before[i];
              int64_t along = 0;
              for (int64_t k = 0; k < a.kernel[i]; ++k) {
                const int64_t place = window.start[i] + k;
                along += p.count_include_pad ? place < a.in[i] + p.behind[i] : place >= 0 && place < a.in[i];
              }
              counted *= along;
            }
            const Answer answer = look(in.data() + plane * volume(a.in), a.in, window);
            const double divisor = static_cast<double>(p.divisor != 0 ? p.divisor : counted);
            if (p.function == PoolFunction::average)
              check_close(reference[index], answer.sum / divisor, answer.magnitudes / divisor, volume(a.kernel));
            else CHECK(answer.nan ? std::isnan(reference[index]) : static_cast<double>(reference[index]) == answer.max);
          }
        }
      }
    }
    for (const FloatPoolKernel* kernel : runnable(float_pool_kernels()))
      for (const int threads : {1, 3})
        if (!same(run(*kernel, p, in, planes, threads), reference)) fail(__FILE__, __LINE__, kernel->name);
  }
}

// A kernel far larger than the image, nearly all of it in the padding: no memory and no time for what is not there.
TEST(float_pool_of_a_kernel_larger_than_the_image) {
  constexpr int64_t kSide = 65535;
  for (const PoolFunction function : {PoolFunction::max, PoolFunction::average}) {
    const FloatPoolParams p{function,
                            {{2, 1, 1}, {1, 1, 1}, {kSide, kSide, 3}, {1, 1, 1}, {1, 1, 1}, {kSide - 2, kSide - 1, 1}},
                            {0, 0, 1},
                            false,
                            0};
    CHECK(FloatPool(p).scratch_bytes() < 4096);
    CHECK_EQ(run(select_float_pool(current_isa()), p, {-3.0f, -1.0f}, 1, 1)[0], function == PoolFunction::max ? -1.0f : -2.0f);
  }
}

// Taps so far apart that most of them see nothing of the image: a row has no more room than what can be seen.
TEST(float_pool_of_taps_far_beyond_the_image) {
  constexpr int64_t kFar = 65533;
  for (const PoolFunction function : {PoolFunction::max, PoolFunction::average}) {
    for (const int64_t stride : {1, 2, 3}) {
      const int64_t out = (2 * kFar + 5 - 2 * kFar - 1) / stride + 1;
      const FloatPoolParams p{
          function, {{1, 2, 5}, {1, 2, out}, {1, 1, 3}, {1, 1, stride}, {1, 1, kFar}, {0, 0, kFar}}, {0, 0, kFar}, false, 1};
      const std::vector<float> plane = {1.0f, -2.0f, 3.0f, 4.0f, 5.0f, -6.0f, 7.0f, 8.0f, -9.0f, 10.0f};
      const std::vector<float> found = run(select_float_pool(current_isa()), p, plane, 1, 1);
      for (int64_t y = 0; y < 2; ++y)
        for (int64_t x = 0; x < out; ++x)  // the middle tap alone
          CHECK_EQ(found[static_cast<std::size_t>(y * out + x)], plane[static_cast<std::size_t>(y * 5 + x * stride)]);
      CHECK(FloatPool(p).scratch_bytes() < 4096);
    }
  }
}

TEST(float_adaptive_pool_of_any_shape) {
  Random random(51);
  for (int round = 0; round < rounds(400); ++round) {
    const PoolFunction function = round % 2 == 0 ? PoolFunction::max : PoolFunction::average;
    const int64_t spatial = random.integer(1, 3), planes = random.integer(0, 4);
    Axes3 in = {1, 1, 1}, out = {1, 1, 1};
    for (auto i = static_cast<std::size_t>(3 - spatial); i < 3; ++i)
      in[i] = random.integer(1, spatial == 3 ? 7 : 40), out[i] = random.integer(1, 9);
    const std::vector<float> values = some(planes * volume(in), random, round % 4 < 2);
    std::vector<float> reference;
    for (const FloatPoolKernel* kernel : runnable(float_pool_kernels())) {
      for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        std::vector<float> found(static_cast<std::size_t>(planes * volume(out)) + 1, -7.0f);
        float_adaptive_pool(*kernel, function, values.data(), found.data(), planes, in, out, pool);
        CHECK_EQ(found.back(), -7.0f);
        if (reference.empty()) reference = found;
        if (!same(found, reference)) fail(__FILE__, __LINE__, kernel->name);
      }
    }
    std::size_t index = 0;
    for (int64_t plane = 0; plane < planes; ++plane) {
      for (int64_t z = 0; z < out[0]; ++z) {
        for (int64_t y = 0; y < out[1]; ++y) {
          for (int64_t x = 0; x < out[2]; ++x, ++index) {
            const Axes3 at = {z, y, x};
            Window window{{}, {}, {1, 1, 1}};
            for (std::size_t i = 0; i < 3; ++i) {
              const double scale = static_cast<double>(in[i]) / static_cast<double>(out[i]);
              window.start[i] = static_cast<int64_t>(std::floor(static_cast<double>(at[i]) * scale + 1e-9));
              window.kernel[i] = static_cast<int64_t>(std::ceil(static_cast<double>(at[i] + 1) * scale - 1e-9)) - window.start[i];
            }
            const Answer answer = look(values.data() + plane * volume(in), in, window);
            const auto count = static_cast<double>(volume(window.kernel));
            if (function == PoolFunction::average)
              check_close(reference[index], answer.sum / count, answer.magnitudes / count, volume(window.kernel));
            else CHECK(answer.nan ? std::isnan(reference[index]) : static_cast<double>(reference[index]) == answer.max);
          }
        }
      }
    }
  }
}

}  // namespace
