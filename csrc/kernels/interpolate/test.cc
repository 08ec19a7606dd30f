#include "kernels/interpolate/interpolate.h"

#include <cmath>
#include <cstring>
#include <string>

#include "kernels/common/test_planes.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

std::vector<float> run(const InterpolateKernel& kernel, const InterpolateParams& params, const std::vector<float>& in,
                       int64_t planes, int threads) {
  ThreadPool pool(threads);
  const Interpolator interpolator(params);
  const int64_t bytes = round_up(Interpolator::scratch_bytes(params), 64);
  Buffer scratch(static_cast<std::size_t>(bytes * threads));
  if (bytes > 0) std::memset(scratch.data(), 0xff, scratch.size());
  std::vector<float> out(static_cast<std::size_t>(planes * volume(params.out)) + 16, -7.0f);
  interpolator.run(kernel, in.data(), out.data(), planes, scratch.data(), bytes, pool);
  for (std::size_t i = out.size() - 16; i < out.size(); ++i) CHECK_EQ(out[i], -7.0f);
  out.resize(out.size() - 16);
  return out;
}

// The places and weights of one axis, in double.
std::vector<std::pair<int64_t, double>> naive_taps(const InterpolateParams& p, std::size_t axis, int64_t i) {
  const auto in = static_cast<double>(p.in[axis]), out = static_cast<double>(p.out[axis]);
  if (static_cast<int>(axis) < 3 - p.spatial) return {{0, 1.0}};
  const double step = p.align_corners      ? (out > 1 ? (in - 1) / (out - 1) : 0.0)
                      : p.scales[axis] > 0 ? 1.0 / p.scales[axis]
                                           : in / out;
  const double place = p.align_corners ? step * static_cast<double>(i) : step * (static_cast<double>(i) + 0.5) - 0.5;
  const double last = in - 1;
  const auto pixel = [&](double at) { return static_cast<int64_t>(std::clamp(at, 0.0, last)); };
  if (p.mode == Interpolation::linear && p.in[axis] == p.out[axis]) return {{i, 1.0}};  // whatever the scale, as in torch
  if (p.mode == Interpolation::linear) {
    const double at = std::clamp(place, 0.0, last), below = std::floor(at);
    return {{pixel(below), 1.0 - (at - below)}, {pixel(below + 1), at - below}};
  }
  std::vector<std::pair<int64_t, double>> taps;
  const double below = std::floor(place);
  for (int k = -1; k <= 2; ++k) {
    const double a = -0.75, distance = std::abs(place - (below + k));
    const double weight = distance <= 1 ? (a + 2) * std::pow(distance, 3) - (a + 3) * distance * distance + 1
                                        : a * std::pow(distance, 3) - 5 * a * distance * distance + 8 * a * distance - 4 * a;
    taps.push_back({pixel(below + k), weight});
  }
  return taps;
}

InterpolateParams random_params(Random& random, Interpolation mode) {
  InterpolateParams p{
      mode,     mode == Interpolation::cubic ? 2 : random.integer(1, 3), random.integer(0, 1) == 0, {0.0, 0.0, 0.0}, {1, 1, 1},
      {1, 1, 1}};
  for (auto i = static_cast<std::size_t>(3 - p.spatial); i < 3; ++i) {
    p.in[i] = random.integer(1, p.spatial == 3 ? 6 : 20);
    if (!p.align_corners && random.integer(0, 1) == 0) {
      p.scales[i] = static_cast<double>(random.real(1.0f, 3.0f));
      p.out[i] = static_cast<int64_t>(static_cast<double>(p.in[i]) * p.scales[i]);
    } else {
      p.out[i] = random.integer(1, p.spatial == 3 ? 9 : p.spatial == 2 ? 40 : 90);
    }
  }
  return p;
}

TEST(interpolate_selection) { check_selection(interpolate_kernels(), select_interpolate); }

TEST(interpolate_linear_and_cubic) {
  Random random(60);
  for (int round = 0; round < rounds(400); ++round) {
    const InterpolateParams p = random_params(random, round % 3 == 0 ? Interpolation::cubic : Interpolation::linear);
    const int64_t planes = random.integer(0, 3);
    std::vector<float> in(static_cast<std::size_t>(planes * volume(p.in)));
    for (float& value : in) value = random.real(-1.0f, 1.0f);
    const std::vector<float> reference = run(interpolate_kernels()[0], p, in, planes, 1);
    std::vector<std::vector<std::pair<int64_t, double>>> taps[3];  // of each place along each axis
    for (std::size_t axis = 0; axis < 3; ++axis)
      for (int64_t i = 0; i < p.out[axis]; ++i) taps[axis].push_back(naive_taps(p, axis, i));
    std::size_t index = 0;
    for (int64_t plane = 0; plane < planes; ++plane)
      for (const auto& along_z : taps[0])
        for (const auto& along_y : taps[1])
          for (const auto& along_x : taps[2]) {
            double wanted = 0.0;
            for (const auto& [z, wz] : along_z)
              for (const auto& [y, wy] : along_y)
                for (const auto& [x, wx] : along_x)
                  wanted +=
                      wz * wy * wx *
                      static_cast<double>(in[static_cast<std::size_t>(((plane * p.in[0] + z) * p.in[1] + y) * p.in[2] + x)]);
            // A place among 20 pixels is known to 2e-6.
            CHECK(std::abs(static_cast<double>(reference[index++]) - wanted) < 5e-5);
          }
    for (const InterpolateKernel* kernel : runnable(interpolate_kernels()))
      for (const int threads : {1, 3})
        if (run(*kernel, p, in, planes, threads) != reference) fail(__FILE__, __LINE__, kernel->name);
  }
}

TEST(interpolate_nearest) {
  Random random(61);
  for (int round = 0; round < rounds(400); ++round) {
    InterpolateParams p = random_params(random, round % 2 == 0 ? Interpolation::nearest : Interpolation::nearest_exact);
    p.align_corners = false;
    std::vector<float> in(static_cast<std::size_t>(2 * volume(p.in)));
    for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i);
    const std::vector<float> found = run(select_interpolate(current_isa()), p, in, 2, 1);
    std::size_t index = 0;
    for (int64_t plane = 0; plane < 2; ++plane) {
      for (int64_t z = 0; z < p.out[0]; ++z) {
        for (int64_t y = 0; y < p.out[1]; ++y) {
          for (int64_t x = 0; x < p.out[2]; ++x, ++index) {
            const Axes3 at = {z, y, x};
            auto rest = static_cast<int64_t>(found[index]) - plane * volume(p.in);
            for (std::size_t i = 3; i-- > 0; rest /= p.in[i]) {
              if (p.spatial == 2 && p.mode == Interpolation::nearest && p.scales[i] > 0 &&
                  (p.out[i] == p.in[i] || p.out[i] == 2 * p.in[i]))
                continue;
              const double step =
                  p.scales[i] > 0 ? 1.0 / p.scales[i] : static_cast<double>(p.in[i]) / static_cast<double>(p.out[i]);
              const double place = (static_cast<double>(at[i]) + (p.mode == Interpolation::nearest ? 0.0 : 0.5)) * step;
              const auto seen = static_cast<double>(rest % p.in[i]), last = static_cast<double>(p.in[i] - 1);
              CHECK(seen >= std::min(std::floor(place - 1e-5), last) && seen <= std::min(std::floor(place + 1e-5), last));
            }
          }
        }
      }
    }
    for (const int threads : {1, 3}) CHECK(run(interpolate_kernels()[0], p, in, 2, threads) == found);
  }
}

// Ten pixels by 1.05 are ten pixels: torch 2.13 reads pixel 8 for the last output, but 9 in images of two axes with at most 128 rows and
// columns together.
TEST(interpolate_nearest_by_a_scale_that_the_sizes_do_not_show) {
  std::vector<float> in(10 * 119);
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<float>(i % 10);
  const auto last_of_row = [&](int spatial, const Axes3& in_sizes, const Axes3& out_sizes) {
    const InterpolateParams p{Interpolation::nearest, spatial, false, {0.0, 0.0, 1.05}, in_sizes, out_sizes};
    return run(interpolate_kernels()[0], p, in, 1, 1)[9];
  };
  CHECK_EQ(last_of_row(1, {1, 1, 10}, {1, 1, 10}), 8.0f);
  CHECK_EQ(last_of_row(2, {1, 118, 10}, {1, 118, 10}), 9.0f);
  CHECK_EQ(last_of_row(2, {1, 119, 10}, {1, 119, 10}), 8.0f);
  CHECK_EQ(last_of_row(3, {2, 5, 10}, {2, 5, 10}), 8.0f);
}

}  // namespace
