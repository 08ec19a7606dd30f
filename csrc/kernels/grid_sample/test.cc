#include "kernels/grid_sample/grid_sample.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/common/test_planes.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> run(const GridSampleKernel& kernel, const GridSampleParams& p, const std::vector<float>& in,
                       const std::vector<float>& grid, int threads) {
  ThreadPool pool(threads);
  std::vector<float> out(static_cast<std::size_t>(p.images * p.channels * p.out_pixels) + 1, -7.0f);
  grid_sample(kernel, in.data(), grid.data(), out.data(), p, pool);
  CHECK_EQ(out.back(), -7.0f);
  out.pop_back();
  return out;
}

// One axis, in double and by walking: where a place lies, and which pixel another one stands for; -1: none.
double pixel_of(double place, int64_t size, bool align_corners) {
  return align_corners ? (place + 1) * static_cast<double>(size - 1) / 2 : ((place + 1) * static_cast<double>(size) - 1) / 2;
}
double into_image(double pixel, int64_t size, const GridSampleParams& p) {
  const auto last = static_cast<double>(size - 1);
  if (p.padding == SamplePadding::zeros) return pixel;
  if (p.padding == SamplePadding::reflection) {
    const double low = p.align_corners ? 0.0 : -0.5, high = p.align_corners ? last : last + 0.5;
    while (high > low && (pixel < low || pixel > high)) pixel = pixel < low ? 2 * low - pixel : 2 * high - pixel;
  }
  return std::clamp(pixel, 0.0, last);
}

double naive(const float* plane, const GridSampleParams& p, double grid_x, double grid_y) {
  const double x = pixel_of(grid_x, p.width, p.align_corners), y = pixel_of(grid_y, p.height, p.align_corners);
  const auto read = [&](double column, double line) {
    if (column < 0 || line < 0 || column >= static_cast<double>(p.width) || line >= static_cast<double>(p.height)) return 0.0;
    return static_cast<double>(plane[static_cast<int64_t>(line) * p.width + static_cast<int64_t>(column)]);
  };
  double sum = 0.0;
  if (p.mode == SampleMode::bicubic) {
    const auto weight = [](double d) {
      const double a = -0.75;
      d = std::abs(d);
      return d <= 1 ? (a + 2) * d * d * d - (a + 3) * d * d + 1 : a * d * d * d - 5 * a * d * d + 8 * a * d - 4 * a;
    };
    for (double line = std::floor(y) - 1; line <= std::floor(y) + 2; ++line)
      for (double column = std::floor(x) - 1; column <= std::floor(x) + 2; ++column)
        sum += weight(x - column) * weight(y - line) * read(into_image(column, p.width, p), into_image(line, p.height, p));
    return sum;
  }
  const double in_x = into_image(x, p.width, p), in_y = into_image(y, p.height, p);
  if (p.mode == SampleMode::nearest) return read(std::nearbyint(in_x), std::nearbyint(in_y));
  for (double line : {std::floor(in_y), std::floor(in_y) + 1})
    for (double column : {std::floor(in_x), std::floor(in_x) + 1})
      sum += (1 - std::abs(in_x - column)) * (1 - std::abs(in_y - line)) * read(column, line);
  return sum;
}

TEST(grid_sample_selection) { check_selection(grid_sample_kernels(), select_grid_sample); }

TEST(grid_sample_in_all_its_ways) {
  Random random(70);
  for (int round = 0; round < rounds(600); ++round) {
    GridSampleParams p{static_cast<SampleMode>(round % 3),
                       static_cast<SamplePadding>(round / 3 % 3),
                       random.integer(0, 1) == 0,
                       random.integer(0, 2),
                       random.integer(1, 3),
                       random.integer(1, 12),
                       random.integer(1, 20),
                       random.integer(0, 70)};
    std::vector<float> in(static_cast<std::size_t>(p.images * p.channels * p.height * p.width)),
        grid(static_cast<std::size_t>(p.images * p.out_pixels * 2));
    for (float& value : in) value = random.real(-1.0f, 1.0f);
    // Nearest jumps half way between pixels: places of a sixty-fourth part of a pixel, but for those half ways.
    for (std::size_t i = 0; i < grid.size(); ++i) {
      const int64_t size = i % 2 == 0 ? p.width : p.height;
      const double pixel = random.integer(-300, 1500) / 64.0 + 1 / 128.0;
      const double place = p.align_corners ? (size > 1 ? pixel * 2 / static_cast<double>(size - 1) - 1 : random.real(-2.0f, 2.0f))
                                           : (pixel * 2 + 1) / static_cast<double>(size) - 1;
      grid[i] = static_cast<float>(place);
    }
    const std::vector<float> reference = run(grid_sample_kernels()[0], p, in, grid, 1);
    std::size_t index = 0;
    for (int64_t n = 0; n < p.images; ++n)
      for (int64_t c = 0; c < p.channels; ++c)
        for (int64_t i = 0; i < p.out_pixels; ++i, ++index) {
          const float* place = grid.data() + (n * p.out_pixels + i) * 2;
          const double wanted = naive(in.data() + (n * p.channels + c) * p.height * p.width, p, static_cast<double>(place[0]),
                                      static_cast<double>(place[1]));
          CHECK(std::abs(static_cast<double>(reference[index]) - wanted) < 1e-4);
        }
    for (const GridSampleKernel* kernel : runnable(grid_sample_kernels()))
      for (const int threads : {1, 3})
        if (run(*kernel, p, in, grid, threads) != reference) fail(__FILE__, __LINE__, kernel->name);
  }
}

// What torch 2.13 answers; and nothing is read outside of the image.
TEST(grid_sample_of_places_that_are_no_numbers) {
  const std::vector<float> in = {1.0f, 2.0f, 3.0f, 4.0f, 5.0f, 6.0f};
  const std::vector<float> grid = {kNan, 0.0f, kInfinity, 0.0f, -kInfinity, 0.0f, 1e30f, 0.0f, -1e30f, 0.0f};
  for (const GridSampleKernel* kernel : runnable(grid_sample_kernels())) {
    const auto answers = [&](SampleMode mode, SamplePadding padding) {
      return run(*kernel, {mode, padding, true, 1, 1, 1, 6, 5}, in, grid, 1);
    };
    CHECK(answers(SampleMode::nearest, SamplePadding::zeros) == std::vector<float>(5, 0.0f));
    CHECK(answers(SampleMode::nearest, SamplePadding::border) == std::vector<float>({1.0f, 6.0f, 1.0f, 6.0f, 1.0f}));
    CHECK(answers(SampleMode::bilinear, SamplePadding::border) == std::vector<float>({1.0f, 6.0f, 1.0f, 6.0f, 1.0f}));
    const std::vector<float> reflected = answers(SampleMode::nearest, SamplePadding::reflection);
    for (int i = 0; i < 3; ++i) CHECK_EQ(reflected[static_cast<std::size_t>(i)], 1.0f);
    const std::vector<float> bilinear = answers(SampleMode::bilinear, SamplePadding::zeros);
    for (int i = 0; i < 3; ++i) CHECK(std::isnan(bilinear[static_cast<std::size_t>(i)]));
    for (int i = 3; i < 5; ++i) CHECK_EQ(bilinear[static_cast<std::size_t>(i)], 0.0f);
  }
}

}  // namespace
