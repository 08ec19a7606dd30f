#include "kernels/convolution/convolution.h"

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

struct Case {
  ConvolutionParams params;
  ConvolutionSizes sizes;
  bool has_bias;
};

// function(z, y, x) for each place.
template <typename Function>
void each(const Axes3& sizes, const Function& function) {
  for (int64_t z = 0; z < sizes[0]; ++z)
    for (int64_t y = 0; y < sizes[1]; ++y)
      for (int64_t x = 0; x < sizes[2]; ++x) function(Axes3{z, y, x});
}
int64_t index_of(const Axes3& at, const Axes3& sizes) { return (at[0] * sizes[1] + at[1]) * sizes[2] + at[2]; }

// In double; a transposed convolution as it is defined: every input is spread over the outputs. `bounds` gets the sum of the products'
// magnitudes.
std::vector<double> naive(const Case& c, const std::vector<float>& weight, const std::vector<float>& bias,
                          const std::vector<float>& in, std::vector<double>& bounds) {
  const ConvolutionParams& p = c.params;
  const ConvolutionSizes& s = c.sizes;
  const int64_t in_group = p.in_channels / p.groups, out_group = p.out_channels / p.groups;
  std::vector<double> out(static_cast<std::size_t>(s.images * p.out_channels * volume(s.out)));
  bounds.assign(out.size(), 0.0);
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] =
        c.has_bias
            ? static_cast<double>(bias[i / static_cast<std::size_t>(volume(s.out)) % static_cast<std::size_t>(p.out_channels)])
            : 0.0;
    bounds[i] = std::abs(out[i]);
  }
  for (int64_t n = 0; n < s.images; ++n) {
    for (int64_t o = 0; o < p.out_channels; ++o) {
      for (int64_t i = 0; i < in_group; ++i) {
        const int64_t channel = o / out_group * in_group + i;
        const int64_t row = p.transposed ? channel * out_group + o % out_group : o * in_group + i;
        each(p.transposed ? s.in : s.out, [&](const Axes3& at) {
          each(p.kernel, [&](const Axes3& tap) {
            Axes3 other;
            for (std::size_t a = 0; a < 3; ++a) other[a] = at[a] * p.stride[a] + tap[a] * p.dilation[a] - s.before[a];
            const Axes3 &from = p.transposed ? at : other, &to = p.transposed ? other : at;
            for (std::size_t a = 0; a < 3; ++a)
              if (other[a] < 0 || other[a] >= (p.transposed ? s.out : s.in)[a]) return;
            const double product =
                static_cast<double>(weight[static_cast<std::size_t>(row * volume(p.kernel) + index_of(tap, p.kernel))]) *
                static_cast<double>(
                    in[static_cast<std::size_t>((n * p.in_channels + channel) * volume(s.in) + index_of(from, s.in))]);
            const auto place = static_cast<std::size_t>((n * p.out_channels + o) * volume(s.out) + index_of(to, s.out));
            out[place] += product;
            bounds[place] += std::abs(product);
          });
        });
      }
    }
  }
  return out;
}

std::vector<float> run(const ConvolutionKernel& kernel, const Case& c, const std::vector<float>& weight,
                       const std::vector<float>& bias, const std::vector<float>& in, int threads) {
  ThreadPool pool(threads);
  const ConvolutionWeights packed = pack_convolution(kernel, weight.data(), c.has_bias ? bias.data() : nullptr, c.params);
  const ConvolutionPlan plan(packed, c.sizes, threads);
  const int64_t bytes = round_up(plan.scratch_bytes(), 64);
  Buffer scratch(static_cast<std::size_t>(bytes * threads + 64));
  std::memset(scratch.data(), 0xff, scratch.size());  // NaN, where something is read that was not written
  std::vector<float> out(static_cast<std::size_t>(c.sizes.images * c.params.out_channels * volume(c.sizes.out)) + 16, -7.0f);
  plan.run(in.data(), out.data(), scratch.data(), bytes, pool);
  for (std::size_t i = out.size() - 16; i < out.size(); ++i) CHECK_EQ(out[i], -7.0f);
  for (std::size_t i = static_cast<std::size_t>(bytes * threads); i < scratch.size(); ++i) CHECK_EQ(scratch.data()[i], 0xff);
  out.resize(out.size() - 16);
  return out;
}

void check(const Case& c, Random& random) {
  const ConvolutionParams& p = c.params;
  const int64_t out_group = p.out_channels / p.groups, in_group = p.in_channels / p.groups;
  const auto some = [&](int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = random.real(-2.0f, 2.0f);
    return values;
  };
  const std::vector<float> weight =
      some((p.transposed ? p.in_channels * out_group : p.out_channels * in_group) * volume(p.kernel));
  const std::vector<float> bias = some(p.out_channels), in = some(c.sizes.images * p.in_channels * volume(c.sizes.in));
  std::vector<double> bounds;
  const std::vector<double> wanted = naive(c, weight, bias, in, bounds);
  const std::vector<float> reference = run(convolution_kernels()[0], c, weight, bias, in, 1);
  REQUIRE(reference.size() == wanted.size());
  const double terms =
      static_cast<double>(in_group * volume(p.kernel) + 2) * 0.5 * static_cast<double>(std::numeric_limits<float>::epsilon());
  for (std::size_t i = 0; i < wanted.size(); ++i)
    CHECK(std::abs(static_cast<double>(reference[i]) - wanted[i]) <= bounds[i] * terms);
  for (const ConvolutionKernel* kernel : runnable(convolution_kernels()))
    for (const int threads : {1, 3})
      if (run(*kernel, c, weight, bias, in, threads) != reference)
        fail(__FILE__, __LINE__, std::string(kernel->name) + " with " + std::to_string(threads) + " threads");
}

Axes3 random_axes(Random& random, int64_t spatial, int32_t low, int32_t high) {
  Axes3 axes = {1, 1, 1};
  for (int64_t i = 3 - spatial; i < 3; ++i) axes[static_cast<std::size_t>(i)] = random.integer(low, high);
  return axes;
}

Case random_case(Random& random, bool transposed) {
  const int64_t spatial = random.integer(1, 3);
  while (true) {
    Case c{};
    ConvolutionParams& p = c.params;
    p.groups = random.integer(0, 2) == 0 ? random.integer(1, 5) : 1;
    const int64_t in_group = random.integer(0, 2) == 0 ? 1 : random.integer(1, 9),
                  out_group = random.integer(0, 2) == 0 ? random.integer(1, 40) : random.integer(1, 5);
    p.in_channels = in_group * p.groups, p.out_channels = out_group * p.groups;
    p.kernel = random_axes(random, spatial, 1, spatial == 3 ? 3 : 5);
    p.stride = random_axes(random, spatial, 1, 3);
    p.dilation = random_axes(random, spatial, 1, 3);
    p.transposed = transposed;
    c.has_bias = random.integer(0, 1) == 0;
    c.sizes.images = random.integer(0, 6) == 0 ? 0 : random.integer(1, 3);
    c.sizes.in = random_axes(random, spatial, 1, spatial == 3 ? 6 : spatial == 2 ? 13 : 70);
    if (random.integer(0, 3) == 0) p.kernel = p.stride = {1, 1, 1};
    const bool far = random.integer(0, 3) == 0;  // taps that see nothing of the image
    if (far) p.dilation[2] = random.integer(10, 60);
    bool fits = true;
    c.sizes.before = {0, 0, 0}, c.sizes.out = {1, 1, 1};
    for (auto i = static_cast<std::size_t>(3 - spatial); i < 3; ++i) {
      const int64_t reach = p.dilation[i] * (p.kernel[i] - 1) + 1, behind = random.integer(-1, 3);
      c.sizes.before[i] = far && i == 2 ? random.integer(0, static_cast<int32_t>(reach)) : random.integer(-1, 3);
      if (transposed)
        c.sizes.out[i] = (c.sizes.in[i] - 1) * p.stride[i] + reach - c.sizes.before[i] - behind +
                         random.integer(0, static_cast<int32_t>(p.stride[i] - 1));
      else
        c.sizes.out[i] = c.sizes.in[i] + c.sizes.before[i] + behind < reach
                             ? 0
                             : (c.sizes.in[i] + c.sizes.before[i] + behind - reach) / p.stride[i] + 1;
      fits = fits && c.sizes.out[i] > 0;
    }
    if (fits) return c;
  }
}

TEST(convolution_selection) { check_selection(convolution_kernels(), select_convolution); }

TEST(convolution_of_any_shape) {
  Random random(40);
  for (int round = 0; round < rounds(400); ++round) check(random_case(random, false), random);
}

TEST(convolution_transposed_of_any_shape) {
  Random random(41);
  for (int round = 0; round < rounds(400); ++round) check(random_case(random, true), random);
}

// Many rows of a panel, whole and half blocks of channels, few and many pixels, and one thread for each part of the channels.
TEST(convolution_of_real_layers) {
  Random random(42);
  const auto plain = [](int64_t in, int64_t out, int64_t groups, Axes3 kernel, Axes3 stride, Axes3 size, Axes3 before,
                        int64_t images) {
    Case c{{in, out, groups, kernel, stride, {1, 1, 1}, false}, {images, size, {}, before}, true};
    for (std::size_t i = 0; i < 3; ++i) c.sizes.out[i] = (size[i] + 2 * before[i] - kernel[i]) / stride[i] + 1;
    return c;
  };
  check(plain(40, 72, 1, {1, 3, 3}, {1, 1, 1}, {1, 14, 14}, {0, 1, 1}, 2), random);
  check(plain(150, 88, 1, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, 1), random);
  check(plain(150, 88, 1, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}, {0, 0, 0}, 5), random);
  check(plain(3, 64, 1, {1, 16, 16}, {1, 16, 16}, {1, 64, 48}, {0, 0, 0}, 1), random);
  check(plain(64, 64, 1, {1, 1, 1}, {1, 1, 1}, {1, 15, 17}, {0, 0, 0}, 2), random);
  check(plain(24, 24, 24, {1, 7, 7}, {1, 1, 1}, {1, 20, 75}, {0, 3, 3}, 1), random);
  check(plain(6, 6, 6, {1, 3, 3}, {1, 2, 2}, {1, 150, 150}, {0, 1, 1}, 1), random);  // more than one band
  check(plain(4, 8, 4, {3, 3, 3}, {1, 2, 1}, {9, 40, 41}, {1, 1, 1}, 1), random);
  check(plain(1, 24, 1, {1, 1, 10}, {1, 1, 5}, {1, 1, 700}, {0, 0, 0}, 1), random);
}

// x x - x x, where x x is no float32: the second product is not rounded before it is added. In panels and by taps.
TEST(convolution_sums_are_fused) {
  const float x = 1.0f + 0x1p-12f;
  for (const int64_t groups : {1, 40}) {
    const Case c{{groups == 1 ? 1 : 40, 40, groups, {1, 1, 2}, {1, 1, 1}, {1, 1, 1}, false},
                 {1, {1, 1, 71}, {1, 1, 70}, {0, 0, 0}},
                 false};
    std::vector<float> weight;
    for (int i = 0; i < 40; ++i) weight.insert(weight.end(), {x, -x});
    const std::vector<float> in(static_cast<std::size_t>(c.params.in_channels * 71), x);
    for (const ConvolutionKernel* kernel : runnable(convolution_kernels()))
      for (const float sum : run(*kernel, c, weight, {}, in, 1)) CHECK_EQ(sum, -0x1p-24f);
  }
}

TEST(convolution_outputs_between_taps_are_the_bias) {
  Random random(43);
  const ConvolutionParams params{2, 3, 1, {1, 1, 2}, {1, 1, 5}, {1, 1, 1}, true};
  check({params, {2, {1, 1, 4}, {1, 1, 19}, {0, 0, -1}}, true}, random);
  const ConvolutionParams even{2, 3, 1, {1, 1, 3}, {1, 1, 4}, {1, 1, 2}, true};  // odd places have no tap
  check({even, {1, {1, 1, 4}, {1, 1, 17}, {0, 0, 0}}, true}, random);
}

}  // namespace
