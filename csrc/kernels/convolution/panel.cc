#include "kernels/convolution/panel.h"

#include <algorithm>

namespace niwaki {

int64_t find_runs(const PhaseGrid& grid, int64_t first, int64_t last, TileRun* runs) {
  const int64_t width = grid.count[2];
  int64_t found = 0;
  for (int64_t pixel = first; pixel < last;) {
    const int64_t row = pixel / width, x = pixel % width, count = std::min(width - x, last - pixel);
    const int64_t plane = row / grid.count[1];
    runs[found++] = {plane / grid.count[0],
                     {plane % grid.count[0], row % grid.count[1], x},
                     static_cast<int32_t>(pixel - first),
                     static_cast<int32_t>(pixel - first + count)};
    pixel += count;
  }
  return found;
}

void find_taps(const PhaseGrid& grid, int64_t in_channels, std::span<const TileRun> runs, TapRun* taps) {
  for (const Axes3& offset : grid.offsets) {
    for (const TileRun& run : runs) {
      Axes3 at;
      for (std::size_t i = 0; i < 3; ++i) at[i] = run.at[i] * grid.in_step[i] + offset[i];
      TapRun tap{0, run.begin, run.begin};
      if (at[0] >= 0 && at[0] < grid.in[0] && at[1] >= 0 && at[1] < grid.in[1]) {
        const Inside inside = Inside::of(at[2], grid.in_step[2], grid.in[2], run.end - run.begin);
        tap.low = run.begin + static_cast<int32_t>(inside.first);
        tap.high = run.begin + static_cast<int32_t>(inside.last);
        tap.offset = run.image * in_channels * volume(grid.in) + (at[0] * grid.in[1] + at[1]) * grid.in[2] + at[2] +
                     inside.first * grid.in_step[2];
      }
      *taps++ = tap;
    }
  }
}

void fill_panel(const PhaseGrid& grid, const float* in, std::span<const TileRun> runs, const TapRun* taps, int64_t first,
                int64_t last, float* panel, int64_t row_floats) {
  const int64_t plane = volume(grid.in), step = grid.in_step[2], tap_count = static_cast<int64_t>(grid.offsets.size());
  const auto run_count = static_cast<int64_t>(runs.size());
  const int32_t pixels = runs.back().end;
  for (int64_t row = first; row < last; ++row, panel += row_floats) {
    const float* channel = in + row / tap_count * plane;
    const TapRun* tap = taps + row % tap_count * run_count;
    for (const TileRun& run : runs) {
      std::fill(panel + run.begin, panel + tap->low, 0.0f);
      const float* from = channel + tap->offset;
      const int64_t count = tap->high - tap->low;
      float* to = panel + tap->low;
      if (step == 1) std::copy_n(from, count, to);
      else
        for (int64_t i = 0; i < count; ++i) to[i] = from[i * step];
      std::fill(panel + tap->high, panel + run.end, 0.0f);
      ++tap;
    }
    std::fill(panel + pixels, panel + row_floats, 0.0f);
  }
}

void store_sums(const PhaseGrid& grid, const float* sums, int64_t row_floats, std::span<const TileRun> runs, int64_t channels,
                int64_t out_channels, float* out) {
  const int64_t plane = volume(grid.out), step = grid.step[2];
  for (const TileRun& run : runs) {
    Axes3 at;
    for (std::size_t i = 0; i < 3; ++i) at[i] = grid.first[i] + run.at[i] * grid.step[i];
    float* to = out + run.image * out_channels * plane + (at[0] * grid.out[1] + at[1]) * grid.out[2] + at[2];
    const float* from = sums + run.begin;
    const int64_t count = run.end - run.begin;
    for (int64_t c = 0; c < channels; ++c, to += plane, from += row_floats) {
      if (step == 1) std::copy_n(from, count, to);
      else
        for (int64_t i = 0; i < count; ++i) to[i * step] = from[i];
    }
  }
}

}  // namespace niwaki
