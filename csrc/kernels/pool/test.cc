#include "kernels/pool/pool.h"

#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

struct Case {
  int32_t images, channels, height, width;
  PoolParams params;
};

int32_t out_size(int32_t in, int32_t before, int32_t after, int32_t kernel, int32_t dilation, int32_t stride, bool ceil_mode) {
  const int32_t room = in + before + after - dilation * (kernel - 1) - 1;
  int32_t size = (ceil_mode ? (room + stride - 1) / stride : room / stride) + 1;
  if (ceil_mode && (size - 1) * stride >= in + before) --size;
  return size;
}

PoolParams square(int32_t kernel, int32_t stride, int32_t pad, int32_t dilation = 1, bool count_include_pad = false,
                  int32_t divisor = 0) {
  PoolParams p{};
  p.kernel_h = p.kernel_w = kernel;
  p.stride_h = p.stride_w = stride;
  p.pad_top = p.pad_left = p.pad_bottom = p.pad_right = pad;
  p.dilation_h = p.dilation_w = dilation;
  p.count_include_pad = count_include_pad;
  p.divisor = divisor;
  p.scale = 0.87f;
  p.in_zero = 13;
  p.out_zero = 121;
  p.low = 5;
  p.high = 250;
  return p;
}

template <typename Function>
void for_each_shape(const Case& c, bool ceil_mode, const Function& function) {
  const PoolParams& p = c.params;
  const int32_t height = out_size(c.height, p.pad_top, p.pad_bottom, p.kernel_h, p.dilation_h, p.stride_h, ceil_mode);
  const int32_t width = out_size(c.width, p.pad_left, p.pad_right, p.kernel_w, p.dilation_w, p.stride_w, ceil_mode);
  Random random(static_cast<uint64_t>(c.height * 1000 + c.width));
  for (const bool extreme : {false, true}) {
    Activation in(c.images, c.channels, c.height, c.width), wanted(c.images, c.channels, height, width);
    in.randomize(random, extreme);
    function(in, wanted);
  }
}

TEST(pool_selection) { check_selection(pool_kernels(), select_pool); }

TEST(max_pool_against_its_definition) {
  std::vector<Case> cases;
  for (const int32_t width : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 34, 35, 56, 112})
    for (const int32_t stride : {1, 2, 3})
      for (const int32_t pad : {0, 1})
        if (width + 2 * pad >= 3) cases.push_back({1, 5, 6, width, square(3, stride, pad)});
  cases.push_back({2, 3, 8, 8, square(2, 2, 0)});
  cases.push_back({2, 3, 11, 23, square(5, 1, 2)});
  cases.push_back({1, 4, 20, 40, square(13, 1, 6)});
  cases.push_back({1, 4, 20, 40, square(3, 2, 1, 4)});
  cases.push_back({1, 2, 19, 21, square(1, 2, 0)});
  cases.push_back({1, 2, 3, 2600, square(3, 2, 1)});  // longer than the row of maxima
  cases.push_back({1, 2, 2, 1500, square(2, 5, 1)});
  Case wide = {1, 2, 2, 1300, square(2, 1, 0)};  // a window wider than the row of maxima
  wide.params.kernel_w = 1200;
  cases.push_back(wide);
  Case oblong = {3, 6, 9, 30, square(3, 2, 1)};
  oblong.params.kernel_h = 2;
  oblong.params.stride_h = 3;
  oblong.params.pad_top = 0;
  oblong.params.pad_bottom = 1;
  cases.push_back(oblong);
  cases.push_back({0, 4, 5, 5, square(3, 2, 1)});
  for (const Case& c : cases) {
    for (const bool ceil_mode : {false, true}) {
      for_each_shape(c, ceil_mode, [&](const Activation& in, const Activation& wanted) {
        const PoolParams& p = c.params;
        wanted.each([&](int64_t n, int64_t channel, int64_t y, int64_t x) {
          int highest = -1;
          for (int64_t row = y * p.stride_h - p.pad_top, i = 0; i < p.kernel_h; ++i, row += p.dilation_h)
            for (int64_t column = x * p.stride_w - p.pad_left, k = 0; k < p.kernel_w; ++k, column += p.dilation_w)
              if (row >= 0 && row < c.height && column >= 0 && column < c.width)
                highest = std::max<int>(highest, in.at(n, channel, row, column));
          wanted.at(n, channel, y, x) = static_cast<uint8_t>(highest);
        });
        for (const PoolKernel* kernel : runnable(pool_kernels())) {
          for (const int threads : {1, 3}) {
            ThreadPool pool(threads);
            Activation out(c.images, c.channels, wanted.planes.height, wanted.planes.width);
            max_pool2d(*kernel, in.planes, out.planes, p, pool);
            check_same(out, wanted, std::string("max ") + kernel->name + " width " + std::to_string(c.width));
          }
        }
      });
    }
  }
}

// The average of a window [top, bottom) x [left, right), cut to the image, over `divisor`.
uint8_t naive_average(const Activation& in, int64_t n, int64_t c, int64_t top, int64_t bottom, int64_t left, int64_t right,
                      int64_t divisor, const PoolParams& p) {
  int64_t sum = 0;
  for (int64_t y = std::max<int64_t>(top, 0); y < std::min<int64_t>(bottom, in.planes.height); ++y)
    for (int64_t x = std::max<int64_t>(left, 0); x < std::min<int64_t>(right, in.planes.width); ++x)
      sum += in.at(n, c, y, x) - p.in_zero;
  const volatile float scale = p.scale / static_cast<float>(divisor);
  const volatile float t = static_cast<float>(sum) * scale;
  return naive_finish(t, p.out_zero, p.low, p.high);
}

TEST(average_pool_against_its_definition) {
  std::vector<Case> cases;
  for (const bool with_padding : {false, true})
    for (const int32_t divisor : {0, 1, 7})
      for (const int32_t width : {3, 8, 15, 16, 17, 33}) {
        cases.push_back({2, 5, 7, width, square(3, 1, 1, 1, with_padding, divisor)});
        cases.push_back({1, 3, 9, width, square(3, 2, 1, 1, with_padding, divisor)});
      }
  cases.push_back({2, 5, 14, 14, square(2, 2, 0)});
  cases.push_back({1, 5, 40, 40, square(35, 3, 2)});
  cases.push_back({1, 5, 40, 41, square(16, 1, 8)});  // 256 pixels of 255: just inside 16 bits
  cases.push_back({1, 4, 17, 40, square(3, 3, 0)});
  cases.push_back({1, 4, 17, 90, square(4, 5, 2, 1, true)});
  cases.push_back({1, 2, 3, 2600, square(3, 2, 1)});  // longer than the row of sums
  cases.push_back({1, 2, 3, 1500, square(2, 1, 1)});
  cases.push_back({1, 4, 2, 20, square(5, 2, 2, 1, true)});  // rows that differ in what counts, not in what is inside
  cases.push_back({2, 5, 7, 7, square(7, 7, 0)});
  cases.push_back({0, 5, 7, 7, square(7, 7, 0)});
  for (const Case& c : cases) {
    for (const bool ceil_mode : {false, true}) {
      for_each_shape(c, ceil_mode, [&](const Activation& in, const Activation& wanted) {
        const PoolParams& p = c.params;
        wanted.each([&](int64_t n, int64_t channel, int64_t y, int64_t x) {
          const int64_t top = y * p.stride_h - p.pad_top, left = x * p.stride_w - p.pad_left;
          const int64_t bottom = std::min<int64_t>(top + p.kernel_h, c.height + p.pad_bottom);
          const int64_t right = std::min<int64_t>(left + p.kernel_w, c.width + p.pad_right);
          int64_t count = (bottom - top) * (right - left);
          if (!p.count_include_pad)
            count = (std::min<int64_t>(bottom, c.height) - std::max<int64_t>(top, 0)) *
                    (std::min<int64_t>(right, c.width) - std::max<int64_t>(left, 0));
          wanted.at(n, channel, y, x) =
              naive_average(in, n, channel, top, bottom, left, right, p.divisor > 0 ? p.divisor : count, p);
        });
        for (const PoolKernel* kernel : runnable(pool_kernels())) {
          for (const int threads : {1, 3}) {
            ThreadPool pool(threads);
            Activation out(c.images, c.channels, wanted.planes.height, wanted.planes.width);
            avg_pool2d(*kernel, in.planes, out.planes, p, pool);
            check_same(out, wanted, std::string("average ") + kernel->name + " width " + std::to_string(c.width));
          }
        }
      });
    }
  }
}

TEST(adaptive_average_pool_against_its_definition) {
  const int32_t sizes[][2] = {{1, 1}, {7, 7}, {6, 3}, {2, 9}, {13, 17}};
  const int32_t shapes[][4] = {{1, 1, 1, 1}, {3, 5, 7, 7}, {2, 9, 13, 17}, {1, 4, 32, 33}, {1, 6, 5, 4}, {0, 4, 3, 3}};
  Random random(10);
  for (const auto& s : shapes) {
    for (const auto& size : sizes) {
      PoolParams p = square(1, 1, 0);
      p.scale = 1.0f;
      Activation in(s[0], s[1], s[2], s[3]), wanted(s[0], s[1], size[0], size[1]);
      in.randomize(random);
      wanted.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
        const auto first = [](int64_t i, int64_t from, int64_t to) {
          return static_cast<int64_t>(std::floor(static_cast<double>(i * from) / static_cast<double>(to)));
        };
        const auto last = [](int64_t i, int64_t from, int64_t to) {
          return static_cast<int64_t>(std::ceil(static_cast<double>((i + 1) * from) / static_cast<double>(to)));
        };
        const int64_t top = first(y, s[2], size[0]), bottom = last(y, s[2], size[0]);
        const int64_t left = first(x, s[3], size[1]), right = last(x, s[3], size[1]);
        wanted.at(n, c, y, x) = naive_average(in, n, c, top, bottom, left, right, (bottom - top) * (right - left), p);
      });
      for (const PoolKernel* kernel : runnable(pool_kernels())) {
        for (const int threads : {1, 3}) {
          ThreadPool pool(threads);
          Activation out(s[0], s[1], size[0], size[1]);
          adaptive_avg_pool2d(*kernel, in.planes, out.planes, p, pool);
          check_same(out, wanted, std::string("adaptive ") + kernel->name);
        }
      }
    }
  }
}

// Around the largest sum that 16 bits hold: 257 pixels of 255.
TEST(average_around_the_most_pixels_in_16_bits) {
  PoolParams p = square(1, 1, 0);
  p.scale = 1.0f;
  p.in_zero = p.out_zero = 0;
  p.low = 0;
  p.high = 255;
  for (const PoolKernel* kernel : runnable(pool_kernels())) {
    for (const int32_t width : {256, 257, 258, 290}) {
      p.kernel_w = width;
      ThreadPool pool(1);
      Activation in(1, 3, 2, 300, 255), out(1, 3, 2, 301 - width);
      avg_pool2d(*kernel, in.planes, out.planes, p, pool);
      out.each([&](int64_t n, int64_t c, int64_t y, int64_t x) { CHECK_EQ(out.at(n, c, y, x), 255); });
    }
  }
}

// Sums of a large window of the largest bytes: no accumulator of 16 bits would hold them.
TEST(adaptive_average_of_a_large_bright_image) {
  PoolParams p = square(1, 1, 0);
  p.scale = 1.0f;
  p.in_zero = p.out_zero = 0;
  p.low = 0;
  p.high = 255;
  for (const PoolKernel* kernel : runnable(pool_kernels())) {
    ThreadPool pool(1);
    Activation in(2, 3, 301, 257, 255), out(2, 3, 1, 1);
    adaptive_avg_pool2d(*kernel, in.planes, out.planes, p, pool);
    out.each([&](int64_t n, int64_t c, int64_t y, int64_t x) { CHECK_EQ(out.at(n, c, y, x), 255); });
  }
}

}  // namespace
