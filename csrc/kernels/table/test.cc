#include "kernels/table/table.h"

#include "kernels/common/test_planes.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

TEST(table_selection) { check_selection(table_kernels(), select_table); }

TEST(table_lookup_of_every_byte) {
  Random random(4);
  Buffer table(256), in(256 * 5), out(256 * 5 + 64);
  for (std::size_t i = 0; i < in.size(); ++i) in.data()[i] = static_cast<uint8_t>(i * 77 + i / 256);
  for (const TableKernel* kernel : runnable(table_kernels())) {
    for (int round = 0; round < 20; ++round) {
      for (std::size_t i = 0; i < 256; ++i) {
        // The first two: the table of nothing, and its mirror.
        const int32_t value = round == 0   ? static_cast<int32_t>(i)
                              : round == 1 ? 255 - static_cast<int32_t>(i)
                                           : random.integer(0, 255);
        table.data()[i] = static_cast<uint8_t>(value);
      }
      std::memset(out.data(), 0xa5, out.size());
      kernel->lookup(in.data(), out.data(), static_cast<int64_t>(in.size()), table.data());
      for (std::size_t i = 0; i < in.size(); ++i) CHECK_EQ(out.data()[i], table.data()[in.data()[i]]);
      for (std::size_t i = in.size(); i < out.size(); ++i) CHECK_EQ(out.data()[i], 0xa5);
    }
  }
}

// Rows of every length that ends with a pixel, at any address: nothing beside them is touched.
TEST(table_of_rows_in_place) {
  Random random(6);
  Buffer table(256);
  for (std::size_t i = 0; i < 256; ++i) table.data()[i] = static_cast<uint8_t>(random.integer(0, 255));
  constexpr int64_t kStride = 332, kRows = 3;
  std::vector<uint8_t> data(kRows * kStride + 64);
  for (const TableKernel* kernel : runnable(table_kernels()))
    for (int64_t bytes = 0; bytes <= 4 * 65; bytes += 4)
      for (const std::size_t begin : {std::size_t{0}, std::size_t{4}, std::size_t{60}}) {
        for (uint8_t& byte : data) byte = static_cast<uint8_t>(random.integer(0, 255));
        std::vector<uint8_t> wanted = data;
        for (int64_t row = 0; row < kRows; ++row)
          for (int64_t i = 0; i < bytes; ++i) {
            uint8_t& byte = wanted[begin + static_cast<std::size_t>(row * kStride + i)];
            byte = table.data()[byte];
          }
        kernel->rows(data.data() + begin, kStride, bytes, kRows, table.data());
        CHECK(data == wanted);
      }
}

TEST(table_clamp_of_every_byte) {
  Buffer in(256), out(256 + 64);
  for (std::size_t i = 0; i < 256; ++i) in.data()[i] = static_cast<uint8_t>(i);
  const uint8_t bounds[][2] = {{0, 255}, {0, 0}, {255, 255}, {128, 255}, {0, 127}, {100, 101}, {127, 129}};
  for (const TableKernel* kernel : runnable(table_kernels())) {
    for (const auto& bound : bounds) {
      std::memset(out.data(), 0xa5, out.size());
      kernel->clamp(in.data(), out.data(), 256, bound[0], bound[1]);
      for (int i = 0; i < 256; ++i) CHECK_EQ(int{out.data()[i]}, std::min<int>(std::max<int>(i, bound[0]), bound[1]));
      for (std::size_t i = 256; i < out.size(); ++i) CHECK_EQ(out.data()[i], 0xa5);
    }
  }
}

TEST(table_of_planes_with_threads_and_in_place) {
  Random random(5);
  Buffer table(256);
  for (std::size_t i = 0; i < 256; ++i) table.data()[i] = static_cast<uint8_t>(random.integer(0, 255));
  const int32_t shapes[][4] = {{1, 1, 1, 1}, {2, 5, 3, 3}, {2, 21, 40, 31}, {0, 8, 4, 4}, {1, 4, 0, 5}};
  for (const TableKernel* kernel : runnable(table_kernels())) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      for (const auto& s : shapes) {
        Activation in(s[0], s[1], s[2], s[3]), out(s[0], s[1], s[2], s[3]);
        Activation looked_up(s[0], s[1], s[2], s[3]), clamped(s[0], s[1], s[2], s[3]);
        in.randomize(random);
        in.each([&](int64_t n, int64_t c, int64_t y, int64_t x) {
          looked_up.at(n, c, y, x) = table.data()[in.at(n, c, y, x)];
          clamped.at(n, c, y, x) = std::clamp<uint8_t>(in.at(n, c, y, x), 30, 200);
        });
        lookup(*kernel, in.planes, out.planes, table.data(), pool);
        check_same(out, looked_up, kernel->name);
        clamp(*kernel, in.planes, out.planes, 30, 200, pool);
        check_same(out, clamped, kernel->name);
        lookup(*kernel, in.planes, in.planes, table.data(), pool);
        check_same(in, looked_up, std::string(kernel->name) + " in place");
      }
    }
  }
}

}  // namespace
