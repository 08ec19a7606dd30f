#include "kernels/mul/mul.h"

#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

const MulParams kParams[] = {
    {0.5f, 0, 0, 0, 0, 255},        {0.0078f, 128, 3, 77, 0, 255}, {0.003f, 255, 255, 255, 0, 255},
    {0.01f, 0, 255, 128, 128, 255}, {0.25f, 10, 20, 30, 30, 90},   {1.0e34f, 100, 100, 9, 0, 255},
};

uint8_t naive(int32_t a, int32_t b, const MulParams& p) {
  const volatile float t = static_cast<float>((a - p.a_zero) * (b - p.b_zero)) * p.scale;
  return naive_finish(t, p.out_zero, p.low, p.high);
}

TEST(mul_selection) { check_selection(mul_kernels(), select_mul); }

TEST(mul_every_pair_of_bytes) {
  Buffer a(65536), b(65536), out(65536 + 64);
  for (std::size_t i = 0; i < 65536; ++i) a.data()[i] = static_cast<uint8_t>(i), b.data()[i] = static_cast<uint8_t>(i / 256);
  for (const MulKernel* kernel : runnable(mul_kernels())) {
    for (const MulParams& params : kParams) {
      std::memset(out.data(), 0xa5, out.size());
      kernel->same(a.data(), b.data(), out.data(), 65536, params);
      for (std::size_t i = 0; i < 65536; ++i) CHECK_EQ(out.data()[i], naive(a.data()[i], b.data()[i], params));
      for (std::size_t i = 65536; i < out.size(); ++i) CHECK_EQ(out.data()[i], 0xa5);
    }
  }
}

TEST(mul_by_a_lane_writes_exactly_its_pixels) {
  Random random(2);
  Buffer a(1024), out(1024);
  for (std::size_t i = 0; i < a.size(); ++i) a.data()[i] = static_cast<uint8_t>(random.integer(0, 255));
  for (const MulKernel* kernel : runnable(mul_kernels())) {
    for (int64_t pixels = 0; pixels <= 67; ++pixels) {
      const MulParams& params = kParams[pixels % 6];
      const uint8_t lane[4] = {0, 255, static_cast<uint8_t>(pixels * 3), static_cast<uint8_t>(params.b_zero)};
      std::memset(out.data(), 0xa5, out.size());
      kernel->lane(a.data() + 4, lane, out.data() + 12, pixels, params);
      for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
        const bool inside = i >= 12 && i < 12 + pixels * 4;
        CHECK_EQ(out.data()[i], inside ? naive(a.data()[i - 8], lane[i % 4], params) : 0xa5);
      }
    }
  }
}

TEST(mul_of_planes_with_threads) {
  Random random(3);
  const int32_t shapes[][4] = {{1, 1, 1, 1}, {2, 5, 3, 3}, {3, 17, 13, 7}, {2, 6, 61, 67}, {0, 8, 4, 4}, {1, 4, 0, 5}};
  for (const MulKernel* kernel : runnable(mul_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const auto& s : shapes) {
        for (const bool squeezed : {false, true}) {
          Activation a(s[0], s[1], s[2], s[3]), out(s[0], s[1], s[2], s[3]), wanted(s[0], s[1], s[2], s[3]);
          Activation b(s[0], s[1], squeezed ? 1 : s[2], squeezed ? 1 : s[3]);
          a.randomize(random);
          b.randomize(random);
          wanted.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
            wanted.at(n, c, y, x) = naive(a.at(n, c, y, x), squeezed ? b.at(n, c, 0, 0) : b.at(n, c, y, x), kParams[1]);
          });
          mul(*kernel, a.planes, b.planes, out.planes, kParams[1], pool);
          check_same(out, wanted, kernel->name);
        }
      }
    }
  }
}

}  // namespace
