#include "kernels/prelu/prelu.h"

#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

const PreluParams kParams[] = {
    {0.5f, 0, 0, 0, 255},       // halves: ties everywhere
    {0.73f, 128, 77, 0, 255},   //
    {1.0f, 255, 255, 0, 255},   // all below zero
    {2.5f, 90, 128, 128, 200},  // bounded
    {1e25f, 3, 9, 0, 255},      // more than an int32 holds
};

uint8_t naive(uint8_t in, float slope, const PreluParams& p) {
  const volatile float below = slope * p.scale;
  const volatile float t = static_cast<float>(in - p.in_zero) * (in > p.in_zero ? p.scale : below);
  return naive_finish(t, p.out_zero, p.low, p.high);
}

TEST(prelu_selection) { check_selection(prelu_kernels(), select_prelu); }

TEST(prelu_against_its_definition) {
  Random random(3);
  const int32_t shapes[][4] = {{1, 1, 1, 1}, {2, 5, 3, 3}, {1, 64, 13, 7}, {3, 33, 30, 31}, {0, 8, 4, 4}, {1, 4, 0, 5}};
  for (const auto& s : shapes) {
    for (const PreluParams& params : kParams) {
      std::vector<float> slopes(static_cast<std::size_t>(s[1])), factors(slopes.size() + 3, 0.0f);
      for (float& slope : slopes)
        slope = random.integer(0, 3) == 0 ? static_cast<float>(random.integer(-1, 2)) : random.real(-1.0f, 1.0f);
      for (std::size_t i = 0; i < slopes.size(); ++i) factors[i] = slopes[i] * params.scale;
      Activation in(s[0], s[1], s[2], s[3]), wanted(s[0], s[1], s[2], s[3]);
      in.randomize(random);
      wanted.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
        wanted.at(n, c, y, x) = naive(in.at(n, c, y, x), slopes[static_cast<std::size_t>(c)], params);
      });
      for (const PreluKernel* kernel : runnable(prelu_kernels())) {
        for (const int threads : {1, 3}) {
          ThreadPool pool(threads);
          Activation out(s[0], s[1], s[2], s[3]), again(s[0], s[1], s[2], s[3]);
          prelu(*kernel, in.planes, out.planes, factors.data(), params, pool);
          check_same(out, wanted, kernel->name);
          std::memcpy(again.buffer.data(), in.buffer.data(), in.bytes());
          prelu(*kernel, again.planes, again.planes, factors.data(), params, pool);
          check_same(again, wanted, std::string(kernel->name) + " in place");
          // As what a layer does to tiles of its output: of any pixels, some groups at a time.
          std::memcpy(again.buffer.data(), in.buffer.data(), in.bytes());
          const auto after = after_prelu(*kernel, factors, params);
          for (int64_t pixel = 0, next; pixel < again.planes.pixels(); pixel = next) {
            next = std::min<int64_t>(pixel + random.integer(1, 40), again.planes.pixels());
            AfterFrom{after.get()}(again.planes, 0, 8, pixel, next - pixel);
            if (s[1] > 8) AfterFrom{after.get()}(again.planes, 8, s[1] - 8, pixel, next - pixel);
          }
          check_same(again, wanted, std::string(kernel->name) + " after a layer");
        }
      }
    }
  }
}

}  // namespace
