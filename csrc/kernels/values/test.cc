#include "kernels/values/values.h"

#include <cmath>
#include <vector>

#include "testing/test.h"

using namespace niwaki;

namespace {

TEST(values_fill) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (const int64_t count : {0, 1, 7, 100000}) {
      const auto check = [&](auto value) {
        std::vector<decltype(value)> out(static_cast<std::size_t>(count + 1), 0);
        fill(out.data(), &value, sizeof(value), count, pool);
        for (int64_t i = 0; i < count; ++i) CHECK_EQ(out[static_cast<std::size_t>(i)], value);
        CHECK_EQ(out.back(), 0);
      };
      check(uint8_t{200});
      check(-1.5f);
      check(int64_t{-7000000000});
    }
  }
}

TEST(values_arange) {
  int64_t wide[3];
  arange(wide, 3, -6000000000, 4000000000);
  CHECK(wide[0] == -6000000000 && wide[1] == -2000000000 && wide[2] == 2000000000);
  int32_t narrow[3];
  arange(narrow, 3, 5, -3);
  CHECK(narrow[0] == 5 && narrow[1] == 2 && narrow[2] == -1);
  float real[2];
  arange(real, 2, 16777217, 2);
  CHECK(real[0] == 16777216.0f && real[1] == 16777220.0f);
}

TEST(values_linspace) {
  for (const int64_t count : {1, 2, 3, 10, 197}) {
    std::vector<float> out(static_cast<std::size_t>(count));
    linspace(out.data(), count, -0.3f, 7.1f);
    CHECK_EQ(out.front(), -0.3f);
    if (count > 1) CHECK_EQ(out.back(), 7.1f);
    for (int64_t i = 0; i < count; ++i) {
      const double exact = count == 1 ? -0.3 : -0.3 + 7.4 * static_cast<double>(i) / static_cast<double>(count - 1);
      CHECK(std::abs(out[static_cast<std::size_t>(i)] - exact) < 1e-6 * 7.4);
    }
  }
  float same[2];
  linspace(same, 2, 3.0f, 3.0f);
  CHECK(same[0] == 3.0f && same[1] == 3.0f);
}

}  // namespace
