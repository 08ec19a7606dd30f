#include "kernels/copy/copy.h"

#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

// function(pool) with one thread and with three.
template <typename Function>
void with_threads(const Function& function) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    function(pool);
  }
}

TEST(concat_of_any_channels) {
  Random random(20);
  const std::vector<std::vector<int32_t>> lists = {{4, 8}, {64, 32, 32}, {1},       {1, 1, 1, 1, 1}, {3, 5, 2},
                                                   {6, 6}, {5, 4, 7},    {2, 3, 3}, {58, 58}};
  for (const std::vector<int32_t>& list : lists) {
    for (const int32_t width : {1, 7, 33, 0}) {
      std::vector<Activation> parts;
      std::vector<Planes> views;
      int32_t total = 0;
      for (const int32_t channels : list) {
        parts.emplace_back(2, channels, 3, width);
        parts.back().randomize(random);
        views.push_back(parts.back().planes);
        total += channels;
      }
      Activation wanted(2, total, 3, width);
      int64_t first = 0;
      for (const Activation& part : parts) {
        part.each([&](int64_t n, int64_t c, int64_t y, int64_t x) { wanted.at(n, first + c, y, x) = part.at(n, c, y, x); });
        first += part.planes.channels;
      }
      with_threads([&](ThreadPool& pool) {
        Activation out(2, total, 3, width);
        concat_channels(views, out.planes, pool);
        check_same(out, wanted, "concat");
      });
    }
  }
}

TEST(slice_of_any_axis) {
  Random random(21);
  Activation in(2, 23, 11, 19);
  in.randomize(random);
  for (const int32_t axis : {1, 2, 3}) {
    const int32_t size = axis == 1 ? 23 : axis == 2 ? 11 : 19;
    for (const int32_t start : {0, 1, 4, 8}) {
      for (const int32_t step : {1, 2, 3, 4}) {
        for (const int32_t count : {0, 1, (size - start + step - 1) / step}) {
          Activation wanted(2, axis == 1 ? count : 23, axis == 2 ? count : 11, axis == 3 ? count : 19);
          wanted.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
            wanted.at(n, c, y, x) =
                in.at(n, axis == 1 ? start + c * step : c, axis == 2 ? start + y * step : y, axis == 3 ? start + x * step : x);
          });
          with_threads([&](ThreadPool& pool) {
            Activation out(2, wanted.planes.channels, wanted.planes.height, wanted.planes.width);
            if (axis == 1) slice_channels(in.planes, out.planes, start, step, pool);
            else
              slice_pixels(in.planes, out.planes, axis == 2 ? PixelAxis{2, 11, 19} : PixelAxis{2 * 11, 19, 1}, start, step, count,
                           pool);
            check_same(out, wanted, "slice axis " + std::to_string(axis));
          });
        }
      }
    }
  }
}

TEST(pad_of_channels_rows_and_columns) {
  Random random(22);
  const int32_t pads[][6] = {{0, 0, 1, 1, 1, 1}, {4, 4, 0, 0, 0, 0}, {8, 8, 0, 0, 0, 0}, {3, 2, 0, 0, 0, 0},
                             {1, 0, 2, 0, 0, 3}, {0, 6, 0, 1, 2, 0}, {0, 0, 0, 0, 0, 0}, {5, 5, 3, 3, 3, 3}};
  for (const int32_t channels : {1, 3, 4, 6, 16}) {
    for (const int32_t width : {1, 9, 18, 0}) {
      Activation in(2, channels, 5, width);
      in.randomize(random);
      for (const auto& p : pads) {
        Activation wanted(2, channels + p[0] + p[1], 5 + p[2] + p[3], width + p[4] + p[5], 77);
        in.each(
            [&](int64_t n, int64_t c, int64_t y, int64_t x) { wanted.at(n, c + p[0], y + p[2], x + p[4]) = in.at(n, c, y, x); });
        with_threads([&](ThreadPool& pool) {
          Activation out(2, wanted.planes.channels, wanted.planes.height, wanted.planes.width);
          pad(in.planes, out.planes, {p[0], {{2, 2, 0}, {5, wanted.planes.height, p[2]}, {width, wanted.planes.width, p[4]}}, 77},
              pool);
          check_same(out, wanted, "pad");
        });
      }
    }
  }
}

TEST(upsample_nearest_repeats_pixels) {
  Random random(25);
  const int32_t scales[][2] = {{1, 1}, {2, 2}, {1, 2}, {2, 1}, {3, 5}, {8, 4}};
  for (const auto& scale : scales) {
    for (const int32_t channels : {1, 4, 6, 32}) {
      for (const int32_t width : {1, 7, 20, 0}) {
        Activation in(2, channels, 5, width), wanted(2, channels, 5 * scale[0], width * scale[1]);
        in.randomize(random);
        wanted.each(
            [&](int64_t n, int64_t c, int64_t y, int64_t x) { wanted.at(n, c, y, x) = in.at(n, c, y / scale[0], x / scale[1]); });
        with_threads([&](ThreadPool& pool) {
          Activation out(2, channels, wanted.planes.height, wanted.planes.width);
          upsample_nearest(in.planes, out.planes, scale[0], scale[1], pool);
          check_same(out, wanted, "upsample_nearest");
        });
      }
    }
  }
}

TEST(reshape_keeps_the_order_of_elements) {
  Random random(23);
  const int32_t shapes[][2][3] = {{{5, 3, 4}, {60, 1, 1}}, {{60, 1, 1}, {5, 3, 4}}, {{8, 6, 6}, {4, 9, 8}},
                                  {{7, 2, 9}, {7, 9, 2}},  {{6, 5, 5}, {3, 10, 5}}, {{1, 1, 1}, {1, 1, 1}},
                                  {{10, 1, 1}, {1, 2, 5}}, {{0, 3, 3}, {0, 1, 1}}};
  for (const auto& shape : shapes) {
    for (const int32_t images : {0, 1, 3}) {
      Activation in(images, shape[0][0], shape[0][1], shape[0][2]), wanted(images, shape[1][0], shape[1][1], shape[1][2]);
      in.randomize(random);
      std::vector<uint8_t> elements;
      in.each([&](int64_t n, int64_t c, int64_t y, int64_t x) { elements.push_back(in.at(n, c, y, x)); });
      std::size_t next = 0;
      wanted.each([&](int64_t n, int64_t c, int64_t y, int64_t x) { wanted.at(n, c, y, x) = elements[next++]; });
      CHECK_EQ(next, elements.size());
      with_threads([&](ThreadPool& pool) {
        Activation out(images, shape[1][0], shape[1][1], shape[1][2]);
        reshape(in.planes, out.planes, pool);
        check_same(out, wanted, "reshape");
      });
    }
  }
}

// Tokens [N, heads, C, area] and [N, heads * C, area], both ways.
TEST(reshape_joins_and_splits_channels) {
  Random random(26);
  for (const int32_t channels : {1, 4, 6, 32})
    for (const int32_t heads : {2, 3, 12})
      for (const int32_t images : {0, 1, 5, 40})
        for (const int32_t area : {1, 7}) {
          Activation parts(images * heads, channels, 1, area), whole(images, heads * channels, 1, area);
          parts.randomize(random);
          parts.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
            whole.at(n / heads, n % heads * channels + c, y, x) = parts.at(n, c, y, x);
          });
          with_threads([&](ThreadPool& pool) {
            Activation joined(images, heads * channels, 1, area), split(images * heads, channels, 1, area);
            reshape(parts.planes, joined.planes, pool);
            check_same(joined, whole, "joined");
            reshape(whole.planes, split.planes, pool);
            check_same(split, parts, "split");
          });
        }
}

TEST(channel_shuffle_transposes_groups) {
  Random random(24);
  const int32_t cases[][2] = {{4, 2}, {116, 2}, {24, 3}, {15, 5}, {16, 16}, {7, 1}, {6, 2}};
  for (const auto& c : cases) {
    Activation in(2, c[0], 3, 7), wanted(2, c[0], 3, 7);
    in.randomize(random);
    for (int32_t group = 0; group < c[1]; ++group)
      for (int32_t i = 0; i < c[0] / c[1]; ++i)
        for (int64_t n = 0; n < 2; ++n)
          for (int64_t y = 0; y < 3; ++y)
            for (int64_t x = 0; x < 7; ++x) wanted.at(n, i * c[1] + group, y, x) = in.at(n, group * (c[0] / c[1]) + i, y, x);
    with_threads([&](ThreadPool& pool) {
      Activation out(2, c[0], 3, 7);
      channel_shuffle(in.planes, out.planes, c[1], pool);
      check_same(out, wanted, "shuffle");
    });
  }
}

TEST(pixel_shuffle_moves_channels_to_pixels) {
  Random random(25);
  // channels of the output, factors
  const int32_t cases[][3] = {{4, 2, 2}, {8, 2, 2}, {5, 2, 2}, {3, 3, 3}, {1, 4, 4}, {6, 1, 8},
                              {7, 8, 1}, {2, 1, 4}, {9, 4, 1}, {4, 1, 1}, {3, 2, 6}, {1, 1, 5}};
  for (const auto& c : cases) {
    for (const int32_t width : {1, 7, 33}) {
      const int32_t channels = c[0], rows = c[1], columns = c[2];
      Activation in(2, channels * rows * columns, 3, width), wanted(2, channels, 3 * rows, width * columns);
      in.randomize(random);
      wanted.each([&](int64_t n, int64_t channel, int64_t y, int64_t x) {
        wanted.at(n, channel, y, x) = in.at(n, (channel * rows + y % rows) * columns + x % columns, y / rows, x / columns);
      });
      with_threads([&](ThreadPool& pool) {
        Activation out(2, channels, 3 * rows, width * columns);
        pixel_shuffle(in.planes, out.planes, rows, columns, pool);
        check_same(out, wanted, "pixel shuffle");
      });
    }
  }
}

}  // namespace
