#include "kernels/depthwise/depthwise.h"

#include "kernels/common/test_after.h"
#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

struct Case {
  int32_t images, channels, height, width;
  DepthwiseParams params;
  int32_t more_below = 0, more_right = 0;  // padding, beside what is above and left
};

DepthwiseParams square(int32_t kernel, int32_t stride, int32_t pad, int32_t dilation = 1, int32_t in_zero = 128) {
  return {kernel, kernel, stride, stride, pad, pad, dilation, dilation, in_zero, 119, 3, 252};
}

int32_t out_size(int32_t in, int32_t kernel, int32_t stride, int32_t pad, int32_t dilation) {
  return (in + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

struct Layer {
  std::vector<int8_t> weight;
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
};

Layer layer_of(const Case& c, Random& random, bool extreme) {
  const int32_t taps = c.params.kernel_h * c.params.kernel_w;
  Layer layer;
  for (int32_t i = 0; i < c.channels * taps; ++i)
    layer.weight.push_back(static_cast<int8_t>(extreme ? (random.next() & 1 ? 127 : -127) : random.integer(-127, 127)));
  for (int32_t i = 0; i < c.channels; ++i) {
    layer.bias.push_back(random.integer(-3000, 3000));
    layer.multiplier.push_back(i % 5 == 4 ? 1.0e30f
                                          : random.real(0.1f, 2.0f) / (60.0f * std::sqrt(static_cast<float>(taps)) * 3.0f));
  }
  return layer;
}

uint8_t naive(const Activation& in, const Layer& layer, const DepthwiseParams& p, int64_t n, int64_t c, int64_t y, int64_t x) {
  int64_t sum = layer.bias[static_cast<std::size_t>(c)];
  for (int64_t ky = 0; ky < p.kernel_h; ++ky) {
    for (int64_t kx = 0; kx < p.kernel_w; ++kx) {
      const int64_t row = y * p.stride_h - p.pad_top + ky * p.dilation_h,
                    column = x * p.stride_w - p.pad_left + kx * p.dilation_w;
      if (row < 0 || row >= in.planes.height || column < 0 || column >= in.planes.width) continue;
      sum += int64_t{layer.weight[static_cast<std::size_t>((c * p.kernel_h + ky) * p.kernel_w + kx)]} *
             (in.at(n, c, row, column) - p.in_zero);
    }
  }
  const volatile float t = static_cast<float>(static_cast<int32_t>(sum)) * layer.multiplier[static_cast<std::size_t>(c)];
  return naive_finish(t, p.out_zero, p.low, p.high);
}

void check_case(const Case& c) {
  const DepthwiseParams& p = c.params;
  const int32_t height = out_size(c.height + c.more_below, p.kernel_h, p.stride_h, p.pad_top, p.dilation_h);
  const int32_t width = out_size(c.width + c.more_right, p.kernel_w, p.stride_w, p.pad_left, p.dilation_w);
  Random random(static_cast<uint64_t>(c.width * 64 + p.kernel_w));
  for (const bool extreme : {false, true}) {
    const Layer layer = layer_of(c, random, extreme);
    Activation in(c.images, c.channels, c.height, c.width), wanted(c.images, c.channels, height, width);
    in.randomize(random, extreme);
    wanted.each([&](int64_t n, int64_t channel, int64_t y, int64_t x) {
      wanted.at(n, channel, y, x) = naive(in, layer, p, n, channel, y, x);
    });
    for (const DepthwiseKernel* kernel : runnable(depthwise_kernels())) {
      const DepthwiseWeights packed =
          pack_depthwise(*kernel, layer.weight.data(), layer.bias.data(), layer.multiplier.data(), c.channels, p);
      for (const int threads : {1, 3}) {
        ThreadPool pool(threads);
        Activation out(c.images, c.channels, height, width);
        depthwise(packed, in.planes, out.planes, p, {}, pool);
        std::ostringstream what;
        what << kernel->name << " " << c.height << " x " << c.width << " kernel " << p.kernel_h << " x " << p.kernel_w
             << " stride " << p.stride_w << " pad " << p.pad_left << " and " << c.more_right << " more, dilation " << p.dilation_w
             << " threads " << threads;
        check_same(out, wanted, what.str());
        Activation counted(c.images, c.channels, height, width), once(c.images, c.channels, height, width);
        const Counting counting;
        depthwise(packed, in.planes, counted.planes, p, {&counting}, pool);
        once.each([&](int64_t n, int64_t channel, int64_t y, int64_t x) {
          once.at(n, channel, y, x) = Counting::once(wanted.at(n, channel, y, x), channel);
        });
        check_same(counted, once, what.str() + " and after it");
      }
    }
  }
}

TEST(depthwise_selection) { check_selection(depthwise_kernels(), select_depthwise); }

TEST(depthwise_around_the_edges_of_vectors) {
  for (const int32_t width : {1, 2, 3, 5, 7, 8, 9, 14, 15, 16, 17, 18, 23, 31, 32, 33, 35, 47, 56, 64, 65})
    for (const int32_t kernel : {3, 5})
      for (const int32_t stride : {1, 2}) check_case({1, 5, width < 20 ? width : 7, width, square(kernel, stride, kernel / 2)});
}

TEST(depthwise_of_any_kernel_stride_padding_and_dilation) {
  const Case cases[] = {
      {2, 3, 9, 21, square(1, 1, 0)},
      {1, 4, 9, 21, square(1, 2, 0)},
      {3, 6, 40, 51, square(1, 1, 0)},
      {5, 33, 1, 1, square(1, 1, 0)},
      {1, 4, 9, 21, square(1, 1, 1)},
      {1, 6, 12, 13, square(2, 1, 0)},
      {2, 9, 17, 19, square(3, 1, 0)},
      {2, 9, 17, 40, square(3, 2, 0)},
      {1, 4, 20, 20, square(3, 3, 1)},
      {1, 4, 20, 37, square(3, 1, 2, 2)},
      {1, 4, 40, 37, square(3, 2, 4, 4)},
      {1, 4, 30, 30, square(5, 1, 4, 2)},
      {1, 5, 30, 30, square(5, 3, 2)},
      {1, 4, 16, 33, square(7, 1, 3)},
      {2, 4, 15, 33, square(7, 2, 3)},
      {1, 4, 25, 25, square(9, 1, 4)},
      {1, 3, 33, 35, square(31, 1, 15)},
      {1, 3, 5, 90, square(3, 1, 5)},
      {1, 3, 60, 50, square(3, 1, 20, 20)},
      {1, 4, 20, 37, square(4, 2, 1)},
      {1, 3, 40, 41, square(11, 4, 5)},
      {1, 2, 3, 45, {3, 40, 1, 1, 1, 20, 1, 1, 7, 100, 0, 255}},
      {1, 4, 30, 20, {5, 3, 2, 1, 2, 1, 1, 1, 7, 9, 0, 200}},
      {1, 4, 30, 20, {3, 5, 1, 2, 1, 2, 2, 1, 255, 9, 9, 255}},
      {1, 8, 1, 1, square(3, 1, 1)},
      {1, 4, 30, 50, {3, 3, 2, 2, 2, 3, 1, 3, 255, 9, 9, 255}},
      {1, 4, 30, 50, {5, 5, 1, 1, 2, 3, 2, 1, 255, 9, 9, 255}},
  };
  for (const Case& c : cases) check_case(c);
}

// Kernels of 3 and 5 in registers: whole vectors are read where they may be, what lies outside of the image is put in their place.
TEST(depthwise_of_random_widths_and_paddings) {
  Random random(5);
  for (int i = 0; i < 150; ++i) {
    const int32_t kernel = random.integer(0, 1) ? 3 : 5, stride = random.integer(1, 2);
    Case c = {random.integer(1, 3), random.integer(1, 6), random.integer(5, 9), random.integer(5, 70), square(kernel, stride, 0)};
    c.params.pad_top = random.integer(0, 4);
    c.params.pad_left = random.integer(0, 1) ? kernel / 2 : random.integer(0, 40);
    c.more_below = random.integer(-c.params.pad_top, 4);
    c.more_right = random.integer(-c.params.pad_left, random.integer(0, 1) ? 1 : 60);
    check_case(c);
  }
}

TEST(depthwise_of_any_batch_channels_and_zero_points) {
  for (const int32_t images : {0, 1, 2, 5})
    for (const int32_t channels : {1, 2, 3, 4, 7, 8, 33}) check_case({images, channels, 7, 7, square(3, 1, 1, 1, images * 51)});
  check_case({3, 6, 50, 50, square(3, 2, 1, 1, 0)});
  check_case({3, 6, 50, 50, square(5, 1, 2, 1, 255)});
}

// A task may begin and end at any row of any image; rows of other tasks stay as they are.
TEST(depthwise_of_any_range_of_rows) {
  Random random(11);
  for (const int32_t kernel : {3, 5, 7}) {
    for (const int32_t stride : {1, 2}) {
      const Case c = {3, 4, 11, 19, square(kernel, stride, kernel / 2)};
      const int32_t height = out_size(11, kernel, stride, kernel / 2, 1), width = out_size(19, kernel, stride, kernel / 2, 1);
      const Layer layer = layer_of(c, random, false);
      Activation in(3, 4, 11, 19);
      in.randomize(random);
      for (const DepthwiseKernel* row : runnable(depthwise_kernels())) {
        const DepthwiseWeights packed =
            pack_depthwise(*row, layer.weight.data(), layer.bias.data(), layer.multiplier.data(), 4, c.params);
        for (int64_t begin = 0; begin <= 3 * height; begin += 4) {
          const int64_t readable = begin % 8 == 0 ? 4 * 19 + kOverread : 4 * 19;
          for (int64_t end = begin; end <= 3 * height; end += 3) {
            Activation out(3, 4, height, width), wanted(3, 4, height, width);
            wanted.each([&](int64_t n, int64_t channel, int64_t y, int64_t x) {
              const bool inside = n * height + y >= begin && n * height + y < end;
              if (inside) wanted.at(n, channel, y, x) = naive(in, layer, c.params, n, channel, y, x);
            });
            const DepthwiseGroup group = {in.planes.data,
                                          out.planes.data,
                                          packed.weights.data(),
                                          packed.bias.as<int32_t>(),
                                          packed.multiplier.as<float>(),
                                          3,
                                          11,
                                          19,
                                          height,
                                          width,
                                          begin,
                                          end,
                                          readable,
                                          false};
            row->run(group, c.params);
            check_same(out, wanted,
                       std::string(row->name) + " rows from " + std::to_string(begin) + " to " + std::to_string(end));
          }
        }
      }
    }
  }
}

// 127 * 255 in both of two neighbouring taps: vpmaddubsw would saturate.
TEST(depthwise_sums_do_not_saturate) {
  const DepthwiseParams p = {3, 3, 1, 1, 1, 1, 1, 1, 0, 0, 0, 255};
  const std::vector<int8_t> weight(4 * 9, 127);
  const std::vector<int32_t> bias(4, 0);
  const std::vector<float> multiplier(4, 200.0f / (9 * 127 * 255));
  for (const DepthwiseKernel* kernel : runnable(depthwise_kernels())) {
    ThreadPool pool(1);
    const DepthwiseWeights packed = pack_depthwise(*kernel, weight.data(), bias.data(), multiplier.data(), 4, p);
    Activation in(1, 4, 20, 20, 255), out(1, 4, 20, 20);
    depthwise(packed, in.planes, out.planes, p, {}, pool);
    CHECK_EQ(out.at(0, 0, 10, 10), 200);
    CHECK_EQ(out.at(0, 3, 0, 0), 89);    // four of nine taps
    CHECK_EQ(out.at(0, 2, 19, 5), 133);  // six of nine taps
  }
}

}  // namespace
