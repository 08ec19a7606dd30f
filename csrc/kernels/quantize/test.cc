#include "kernels/quantize/quantize.h"

#include <limits>

#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

QuantizeParams params_of(float scale, int32_t zero) { return {1.0f / scale, scale, zero}; }
const QuantizeParams kParams[] = {params_of(0.5f, 0), params_of(0.017f, 128), params_of(2.0f, 255), params_of(1.0e-3f, 77)};

uint8_t naive(float value, const QuantizeParams& p) {
  const volatile float t = value * p.inverse_scale;
  return std::isnan(t) ? 0 : naive_finish(t, p.zero, 0, 255);
}

// Values around the range, ties, and what is no number at all.
float value_of(Random& random, const QuantizeParams& p, uint32_t i) {
  const float odd[] = {kNan, -kNan, kInfinity, -kInfinity, 0.0f, -0.0f, 3.0e38f, -3.0e38f, 1.0e-45f};
  if (i % 7 == 0) return odd[i / 7 % 9];
  if (i % 7 == 1) return (static_cast<float>(random.integer(-300, 300)) + 0.5f) * p.scale;
  return random.real(-300.0f, 300.0f) * p.scale;
}

TEST(quantize_selection) { check_selection(quantize_kernels(), select_quantize); }

TEST(quantize_writes_exactly_its_pixels) {
  Random random(6);
  constexpr int64_t kMost = 67;
  std::vector<float> values(4 * kMost);
  Buffer out((kMost + 32) * 4);
  for (const QuantizeKernel* kernel : runnable(quantize_kernels())) {
    for (int64_t pixels = 0; pixels <= kMost; ++pixels) {
      for (int missing = 0; missing < 4; ++missing) {
        const QuantizeParams& params = kParams[(pixels + missing) % 4];
        for (uint32_t i = 0; i < values.size(); ++i) values[i] = value_of(random, params, i);
        const float* planes[4] = {};
        for (int c = 0; c < 4 - missing; ++c) planes[c] = values.data() + c * kMost;
        std::memset(out.data(), 0xa5, out.size());
        kernel->quantize(planes, out.data() + 4, pixels, params);
        for (int64_t i = 0; i < static_cast<int64_t>(out.size()); ++i) {
          uint8_t wanted = 0xa5;
          if (i >= 4 && i < 4 + pixels * 4)
            wanted = i % 4 < 4 - missing ? naive(planes[i % 4][i / 4 - 1], params) : static_cast<uint8_t>(params.zero);
          CHECK_EQ(out.data()[i], wanted);
        }
      }
    }
  }
}

TEST(quantize_row_writes_exactly_its_bytes) {
  Random random(13);
  std::vector<float> values(200);
  std::vector<uint8_t> out(264);
  for (const QuantizeKernel* kernel : runnable(quantize_kernels())) {
    for (int64_t count = 0; count <= 200; ++count) {
      const QuantizeParams& params = kParams[count % 4];
      for (uint32_t i = 0; i < values.size(); ++i) values[i] = value_of(random, params, i);
      std::fill(out.begin(), out.end(), uint8_t{0xa5});
      kernel->quantize_row(values.data(), count, out.data(), params);
      for (std::size_t i = 0; i < out.size(); ++i)
        CHECK_EQ(out[i], static_cast<int64_t>(i) < count ? naive(values[i], params) : uint8_t{0xa5});
    }
  }
}
TEST(dequantize_writes_exactly_its_pixels) {
  Random random(7);
  constexpr int64_t kMost = 67;
  Buffer in(kMost * 4);
  for (std::size_t i = 0; i < in.size(); ++i) in.data()[i] = static_cast<uint8_t>(i < 256 ? i : random.integer(0, 255));
  for (const QuantizeKernel* kernel : runnable(quantize_kernels())) {
    for (int64_t pixels = 0; pixels <= kMost; ++pixels) {
      for (int missing = 0; missing < 4; ++missing) {
        const QuantizeParams& params = kParams[(pixels + missing) % 4];
        std::vector<float> out(4 * (kMost + 16), -12345.0f);
        float* planes[4] = {};
        for (int c = 0; c < 4 - missing; ++c) planes[c] = out.data() + c * (kMost + 16);
        kernel->dequantize(in.data(), planes, pixels, params);
        for (int c = 0; c < 4; ++c) {
          for (int64_t i = 0; i < kMost + 16; ++i) {
            const bool written = i < pixels && c < 4 - missing;
            const float wanted =
                written ? static_cast<float>(int32_t{in.data()[i * 4 + c]} - params.zero) * params.scale : -12345.0f;
            CHECK_EQ(out[static_cast<std::size_t>(c * (kMost + 16) + i)], wanted);
          }
        }
      }
    }
  }
}

TEST(quantize_phases_is_space_to_depth) {
  Random random(9);
  const int32_t shapes[][4] = {{1, 1, 1, 1},   {2, 3, 5, 7}, {3, 3, 12, 64}, {1, 3, 97, 101},
                               {1, 2, 2, 131}, {0, 3, 4, 4}, {1, 4, 6, 6}};
  for (const QuantizeKernel* kernel : runnable(quantize_kernels())) {
    for (const auto& s : shapes) {
      ThreadPool pool(1 + s[1] % 2);
      const QuantizeParams& params = kParams[3];
      Activation out(s[0], s[1] * 4, (s[2] + 1) / 2, (s[3] + 1) / 2), wanted(s[0], s[1] * 4, (s[2] + 1) / 2, (s[3] + 1) / 2);
      std::vector<float> values(static_cast<std::size_t>(s[0] * s[1] * s[2] * s[3]));
      for (uint32_t i = 0; i < values.size(); ++i) values[i] = value_of(random, params, i);
      std::vector<int64_t> order;  // any: the channels from the last to the first
      for (int64_t i = int64_t{4} * s[1]; i-- > 0;) order.push_back(i);
      wanted.each([&](int64_t n, int64_t channel, int64_t y, int64_t x) {
        const int64_t source = order[static_cast<std::size_t>(channel)], phase = source / s[1], c = source % s[1];
        const int64_t from_y = 2 * y + phase / 2, from_x = 2 * x + phase % 2;
        const bool inside = from_y < s[2] && from_x < s[3];
        const int64_t from = ((n * s[1] + c) * s[2] + from_y) * s[3] + from_x;
        wanted.at(n, channel, y, x) =
            inside ? naive(values[static_cast<std::size_t>(from)], params) : static_cast<uint8_t>(params.zero);
      });
      quantize_phases(*kernel, values.data(), s[2], s[3], out.planes, order, params, pool);
      check_same(out, wanted, kernel->name);
    }
  }
}

TEST(quantize_and_dequantize_planes_with_threads) {
  Random random(8);
  const int32_t shapes[][4] = {{1, 1, 1, 1}, {2, 3, 5, 7}, {3, 10, 13, 1}, {1, 3, 97, 101},
                               {5, 9, 1, 1}, {0, 3, 4, 4}, {1, 4, 0, 5}};
  for (const QuantizeKernel* kernel : runnable(quantize_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const auto& s : shapes) {
        const QuantizeParams& params = kParams[1];
        Activation out(s[0], s[1], s[2], s[3]), wanted(s[0], s[1], s[2], s[3]);
        std::vector<float> values(static_cast<std::size_t>(out.planes.pixels() * s[1])), back(values.size() + 1, -1.0f),
            expected = back;
        for (uint32_t i = 0; i < values.size(); ++i) values[i] = value_of(random, params, i);
        std::size_t next = 0;
        out.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
          wanted.at(n, c, y, x) = naive(values[next], params);
          expected[next++] = static_cast<float>(int32_t{wanted.at(n, c, y, x)} - params.zero) * params.scale;
        });
        quantize(*kernel, values.data(), out.planes, params, pool);
        check_same(out, wanted, kernel->name);
        dequantize(*kernel, out.planes, back.data(), params, pool);
        CHECK(back == expected);
      }
    }
  }
}

// Against quantize and dequantize of planes of single pixels, which the tests above check. The bytes behind the last row stay as they were.
TEST(quantize_rows_and_back_equal_the_planes) {
  Random random(12);
  const QuantizeKernel& reference = select_quantize(Isa::scalar);
  for (const QuantizeKernel* kernel : runnable(quantize_kernels())) {
    for (const int32_t rows : {0, 1, 3, 4, 8, 15, 16, 17, 33, 128, 300}) {
      for (const int32_t channels : {1, 2, 3, 4, 5, 15, 16, 17, 31, 64, 70, 384}) {
        ThreadPool pool(1 + (rows + channels) % 3);
        const QuantizeParams& params = kParams[(rows + channels) % 4];
        std::vector<float> values(static_cast<std::size_t>(rows) * static_cast<std::size_t>(channels)),
            back(values.size() + 1, -1.0f), wanted_back = back;
        for (uint32_t i = 0; i < values.size(); ++i) values[i] = value_of(random, params, i);
        Activation out(rows, channels, 1, 1), wanted(rows, channels, 1, 1);
        quantize_rows(*kernel, values.data(), out.planes, params, pool);
        quantize(reference, values.data(), wanted.planes, params, pool);
        check_same(out, wanted, kernel->name);
        for (int64_t group = 0; group < out.planes.groups(); ++group)
          for (int64_t i = int64_t{rows} * 4; i < out.planes.group_stride; ++i) CHECK_EQ(out.planes.group(group)[i], 0xa5);
        const RowsParams all{rows, channels, out.planes.group_stride};
        std::vector<QuantizeParams> own;
        for (int32_t row = 0; row < rows; ++row) own.push_back(kParams[(row + 1) % 4]);
        Activation own_out(rows, channels, 1, 1), own_wanted(rows, channels, 1, 1);
        kernel->quantize_own_rows(values.data(), channels, all, own_out.planes.data, own.data());
        reference.quantize_own_rows(values.data(), channels, all, own_wanted.planes.data, own.data());
        check_same(own_out, own_wanted, kernel->name);
        dequantize_rows(*kernel, out.planes, back.data(), params, pool);
        dequantize(reference, wanted.planes, wanted_back.data(), params, pool);
        CHECK(back == wanted_back);
      }
    }
  }
}

}  // namespace
