#include "kernels/resize/resize.h"

#include <cmath>
#include <cstring>
#include <string>

#include "kernels/common/test_planes.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

void run(const ResizeKernel& kernel, const InterpolateParams& params, const ResizeScales& scales, const Activation& in,
         const Activation& out, int threads) {
  ThreadPool pool(threads);
  const int64_t bytes = round_up(Resizer::scratch_bytes(params), 64);
  Buffer scratch(static_cast<std::size_t>(bytes * threads));
  if (bytes > 0) std::memset(scratch.data(), 0xff, scratch.size());
  Resizer(params).run(kernel, in.planes, out.planes, scales, scratch.data(), bytes, pool);
}

// In units of 2^-14, adding up to 1: the largest takes what is left over.
std::array<int64_t, kMostTaps> whole_weights(const AxisTaps& taps, int64_t output) {
  std::array<int64_t, kMostTaps> whole{};
  int64_t sum = 0;
  for (std::size_t t = 0; t < whole.size(); ++t)
    sum += whole[t] = std::llrint(static_cast<double>(taps.weights_of(output)[t]) * 16384.0);
  *std::max_element(whole.begin(), whole.end()) += 16384 - sum;
  return whole;
}

// As docs/architecture.md has it, in whole numbers of 64 bits.
void resize_plainly(const InterpolateParams& params, const ResizeScales& scales, const Activation& in, const Activation& out) {
  const auto axes = interpolation_taps(params);
  const volatile float factor = scales.scale * 0x1p-20f;
  out.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
    if (axes[2].taps == 1) {
      out.at(n, c, y, x) = in.at(n, c, axes[1].index(0, y), axes[2].index(0, x));
      return;
    }
    const auto across = whole_weights(axes[2], x), down = whole_weights(axes[1], y);
    int64_t sum = -(int64_t{scales.in_zero} << 20);
    for (int64_t ty = 0; ty < axes[1].taps; ++ty) {
      int64_t along = 128;
      for (int64_t tx = 0; tx < axes[2].taps; ++tx)
        along += across[static_cast<std::size_t>(tx)] * in.at(n, c, axes[1].index(ty, y), axes[2].index(tx, x));
      sum += down[static_cast<std::size_t>(ty)] * (along >> 8);
    }
    const volatile float t = static_cast<float>(sum) * factor;
    out.at(n, c, y, x) = naive_finish(t, scales.out_zero, 0, 255);
  });
}

InterpolateParams params_of(Interpolation mode, int64_t in_h, int64_t in_w, int64_t out_h, int64_t out_w,
                            bool align_corners = false, double scale = 0.0) {
  return {mode, 2, align_corners, {0.0, scale, scale}, {1, in_h, in_w}, {1, out_h, out_w}};
}

TEST(resize_selection) { check_selection(resize_kernels(), select_resize); }

TEST(resize_against_its_definition) {
  Random random(61);
  for (int round = 0; round < rounds(300); ++round) {
    const auto mode = static_cast<Interpolation>(round % 4);
    const bool nearest = mode == Interpolation::nearest || mode == Interpolation::nearest_exact;
    const auto size = [&](int most) { return random.integer(0, 4) == 0 ? 1 : random.integer(1, most); };
    InterpolateParams params = params_of(mode, size(20), size(70), size(40), size(90), !nearest && random.integer(0, 1) == 0);
    if (random.integer(0, 3) == 0) params.scales = {0.0, 1.7, 1.3};
    if (random.integer(0, 5) == 0) params.spatial = 1, params.in[1] = params.out[1] = 1;
    const ResizeScales scales = nearest ? ResizeScales{1.0f, 3, 3}
                                        : ResizeScales{random.real(0.3f, 2.0f), random.integer(0, 255), random.integer(0, 255)};
    const int32_t images = random.integer(0, 3), channels = random.integer(1, 9);
    const auto narrow = [](int64_t value) { return static_cast<int32_t>(value); };
    Activation in(images, channels, narrow(params.in[1]), narrow(params.in[2])),
        wanted(images, channels, narrow(params.out[1]), narrow(params.out[2]));
    in.randomize(random, round % 8 >= 4);
    resize_plainly(params, scales, in, wanted);
    for (const ResizeKernel* kernel : runnable(resize_kernels())) {
      for (const int threads : {1, 3}) {
        Activation out(images, channels, wanted.planes.height, wanted.planes.width);
        run(*kernel, params, scales, in, out, threads);
        check_same(out, wanted, std::string(kernel->name) + " round " + std::to_string(round));
      }
    }
  }
}

// The float32 interpolation of the same values, within a rounding and what 2^-14 and 2^-6 leave.
TEST(resize_is_near_interpolation) {
  Random random(62);
  for (const Interpolation mode : {Interpolation::linear, Interpolation::cubic}) {
    const InterpolateParams params = params_of(mode, 9, 13, 23, 31);
    Activation in(1, 4, 9, 13), out(1, 4, 23, 31);
    in.randomize(random);
    std::vector<float> floats(4 * 9 * 13), exact(4 * 23 * 31);
    in.each([&](int64_t, int64_t c, int64_t y, int64_t x) {
      floats[static_cast<std::size_t>((c * 9 + y) * 13 + x)] = static_cast<float>(in.at(0, c, y, x));
    });
    ThreadPool pool(1);
    Buffer scratch(static_cast<std::size_t>(Interpolator::scratch_bytes(params)));
    Interpolator(params).run(interpolate_kernels()[0], floats.data(), exact.data(), 4, scratch.data(), 0, pool);
    run(select_resize(current_isa()), params, {1.0f, 7, 7}, in, out, 1);
    out.each([&](int64_t, int64_t c, int64_t y, int64_t x) {
      const float wanted = std::clamp(exact[static_cast<std::size_t>((c * 23 + y) * 31 + x)], 0.0f, 255.0f);
      CHECK(std::fabs(static_cast<float>(out.at(0, c, y, x)) - wanted) < 0.56f);
    });
  }
}

TEST(resize_leaves_what_is_even) {
  for (const Interpolation mode : {Interpolation::linear, Interpolation::cubic}) {
    for (const uint8_t q : {0, 1, 127, 254, 255}) {
      const InterpolateParams params = params_of(mode, 7, 11, 40, 51);
      Activation in(1, 4, 7, 11, q), out(1, 4, 40, 51);
      run(select_resize(current_isa()), params, {1.0f, 0, 0}, in, out, 1);
      out.each([&](int64_t n, int64_t c, int64_t y, int64_t x) { CHECK_EQ(out.at(n, c, y, x), q); });
    }
  }
}

}  // namespace
