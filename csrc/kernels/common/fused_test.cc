#include "kernels/common/fused.h"

#include <cmath>

#include "kernels/common/lanes16.h"
#include "kernels/common/test_values.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

bool same(float a, float b) { return std::isnan(a) ? std::isnan(b) : std::memcmp(&a, &b, sizeof(a)) == 0; }

// The library's fma, which is exact, for one and for sixteen.
void check(float a, float b, float c) {
  const float wanted = std::fma(a, b, c);
  CHECK(same(multiply_add(a, b, c), wanted));
  float lanes[kSixteen];
  store(lanes, multiply_add(splat(a), splat(b), splat(c)));
  CHECK(same(lanes[0], wanted) && same(lanes[kSixteen - 1], wanted));
}

// A sum a little above or below the middle of two floats: float64 can't hold it and says that it is the middle.
TEST(fused_sums_beside_the_middle_of_two_floats) {
  const float ulp = 0x1p-23f, half = 0x1p-24f * (1.0f + ulp), one = 1.0f - ulp;  // half * one = 2^-24 - 2^-70
  CHECK_EQ(multiply_add(half, one, 1.0f + ulp), 1.0f + ulp);
  CHECK_EQ(multiply_add(-half, one, -1.0f - ulp), -1.0f - ulp);
  CHECK_EQ(multiply_add(-half, one, 1.0f + ulp), 1.0f + ulp);
  CHECK_EQ(multiply_add(half, one, -1.0f - ulp), -1.0f - ulp);
  for (const int power : {0, 1, 60, 100, -1, -60, -100, -125, -126, -130, -140, -149})
    for (const float sign : {1.0f, -1.0f})
      for (int32_t i = -2; i <= 2; ++i)
        for (int32_t j = -2; j <= 2; ++j)
          for (int32_t k = -2; k <= 2; ++k)
            check(sign * std::ldexp(1.0f + static_cast<float>(i) * ulp, power - 24 + 20),
                  std::ldexp(1.0f + static_cast<float>(j) * ulp, -20), std::ldexp(1.0f + static_cast<float>(k) * ulp, power));
}

TEST(fused_sums_of_all_sorts_of_numbers) {
  for (const float a : special_floats())
    for (const float b : special_floats())
      for (const float c : special_floats()) check(a, b, c);
  Random random(1);
  const auto bits = [&random] { return random.next() ^ random.next() << 16; };
  for (int i = 0; i < rounds(200000); ++i) {
    check(float_of_bits(bits()), float_of_bits(bits()), float_of_bits(bits()));
    // Of like size, near the least numbers, and beyond the greatest.
    const auto near = [&](uint32_t exponent) {
      return float_of_bits((bits() & 0x807fffffu) | ((exponent + (bits() & 31u)) << 23));
    };
    check(near(112), near(112), near(97));
    check(near(48), near(64), near(0));
    check(near(180), near(180), near(223));
  }
}

}  // namespace
