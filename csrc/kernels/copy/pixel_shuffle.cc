#include <algorithm>
#include <cstring>

#include "kernels/common/partition.h"
#include "kernels/copy/copy.h"

namespace niwaki {
namespace {

uint32_t read_lane(const uint8_t* from) {
  uint32_t lane;
  std::memcpy(&lane, from, 4);
  return lane;
}

void write_lane(uint8_t* to, uint32_t lane) { std::memcpy(to, &lane, 4); }

// Where the four channels of an output group come from. A group whose last channels are missing has others there.
struct Sources {
  const uint8_t* plane[4];
  uint32_t shift[4];
};

// Where the first pixels of four phases go.
struct Targets {
  uint8_t* phase[4];
};

// Of one row, four phases side by side: plane k holds all four of channel k, so that byte k of what is written of phase p is byte p of what
// is read of channel k. Pixels of a phase are `step` bytes apart. In whole lanes, and inlined for each step, so that compilers make vectors
// of it.
inline __attribute__((always_inline)) void transpose(const Sources& from, int64_t pixels, const Targets& to, int64_t step) {
  constexpr uint32_t kEven = 0x00ff00ff, kLow = 0x0000ffff;
  const uint8_t* __restrict a = from.plane[0], * __restrict b = from.plane[1], * __restrict c = from.plane[2], * __restrict d = from.plane[3];
  uint8_t *first = to.phase[0], *second = to.phase[1], *third = to.phase[2], *fourth = to.phase[3];
  for (int64_t x = 0; x < pixels; ++x) {
    const uint32_t i0 = read_lane(a + x * 4), i1 = read_lane(b + x * 4), i2 = read_lane(c + x * 4), i3 = read_lane(d + x * 4);
    const uint32_t even01 = (i0 & kEven) | (i1 & kEven) << 8, odd01 = (i0 >> 8 & kEven) | (i1 & ~kEven);
    const uint32_t even23 = (i2 & kEven) | (i3 & kEven) << 8, odd23 = (i2 >> 8 & kEven) | (i3 & ~kEven);
    write_lane(first + x * step, (even01 & kLow) | even23 << 16);
    write_lane(second + x * step, (odd01 & kLow) | odd23 << 16);
    write_lane(third + x * step, even01 >> 16 | (even23 & ~kLow));
    write_lane(fourth + x * step, odd01 >> 16 | (odd23 & ~kLow));
  }
}

// The same where two phases lie beside each other, and where all four do.
void transpose_pairs(const Sources& from, int64_t pixels, uint8_t* __restrict upper, uint8_t* __restrict lower) {
  transpose(from, pixels, {{upper, upper + 4, lower, lower + 4}}, 8);
}
void transpose_row(const Sources& from, int64_t pixels, uint8_t* __restrict to, int64_t columns) {
  if (columns == 4) transpose(from, pixels, {{to, to + 4, to + 8, to + 12}}, 16);
  else transpose(from, pixels, {{to, to + 4, to + 8, to + 12}}, columns * 4);
}
void transpose_four(const Sources& from, int64_t pixels, const Targets& to, int64_t columns) {
  if (columns == 1) transpose(from, pixels, to, 4);
  else transpose(from, pixels, to, columns * 4);
}

// One phase.
void move_one(const Sources& from, int64_t pixels, uint8_t* to, int64_t step) {
  for (int64_t x = 0; x < pixels; ++x) {
    uint32_t lane = 0;
    for (int k = 0; k < 4; ++k) lane |= (read_lane(from.plane[k] + x * 4) >> from.shift[k] & 255u) << (8 * k);
    write_lane(to + x * step, lane);
  }
}

}  // namespace

void pixel_shuffle(const Planes& in, const Planes& out, int32_t rows, int32_t columns, ThreadPool& pool) {
  if (out.pixels() == 0) return;
  const int64_t phases = int64_t{rows} * columns, step = int64_t{columns} * 4;
  const int64_t row_bytes = int64_t{out.width} * 4;
  const int64_t together = phases % 4 == 0 ? 4 : 1;
  // Rows of all images lie one behind the other, in the input as in the output.
  const auto move_row = [&](int64_t group, int64_t row, int64_t phase) {
    Sources from;
    for (int64_t k = 0; k < 4; ++k) {
      const int64_t channel = std::min<int64_t>(group * 4 + k, out.channels - 1) * phases + phase;
      from.plane[k] = in.group(channel / 4) + row * in.width * 4;
      from.shift[k] = static_cast<uint32_t>(8 * (channel % 4));
    }
    uint8_t* const base = out.group(group) + row * rows * row_bytes;
    const auto place = [&](int64_t p) { return base + p / columns * row_bytes + p % columns * 4; };
    if (together == 1) return move_one(from, in.width, place(phase), step);
    if (columns == 2) return transpose_pairs(from, in.width, place(phase), place(phase + 2));
    if (columns % 4 == 0) return transpose_row(from, in.width, place(phase), columns);
    transpose_four(from, in.width, {{place(phase), place(phase + 1), place(phase + 2), place(phase + 3)}}, columns);
  };
  for_each_part(int64_t{in.images} * in.height, out.groups(), row_bytes * rows, pool,
                [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
                  for (int64_t group = first; group < last; ++group)
                    for (int64_t row = begin; row < end; ++row)
                      for (int64_t phase = 0; phase < phases; phase += together) move_row(group, row, phase);
                });
}

}  // namespace niwaki
