#include "kernels/convolution/panel.h"

#include <algorithm>

namespace niwaki {
namespace {

int64_t floor_mod(int64_t a, int64_t b) { return (a % b + b) % b; }

// Axes over which a plain convolution does nothing are one long row: a kernel of 1 x 1 sees an image as a line.
void join_axes(PhaseGrid& grid, const ConvolutionParams& params) {
  const auto idle = [&](std::size_t i) {
    return params.kernel[i] == 1 && grid.in_step[i] == 1 && grid.step[i] == 1 && grid.offsets[0][i] == 0 &&
           grid.in[i] == grid.out[i] && grid.first[i] == 0;
  };
  for (std::size_t i = 2; i-- > 0 && idle(2) && idle(i);) {
    for (Axes3* sizes : {&grid.count, &grid.in, &grid.out}) {
      (*sizes)[2] *= (*sizes)[i];
      (*sizes)[i] = 1;
    }
  }
}

}  // namespace

PhaseGrid grid_of(const ConvolutionParams& params, const ConvolutionPhase& phase, const ConvolutionSizes& sizes) {
  PhaseGrid grid{sizes.images, sizes.out, {0, 0, 0}, {1, 1, 1}, params.stride, sizes.in, sizes.out, {}};
  if (params.transposed) {
    grid.step = params.stride;
    grid.in_step = {1, 1, 1};
    for (std::size_t i = 0; i < 3; ++i) {
      grid.first[i] = floor_mod(phase.rest[i] - sizes.before[i], params.stride[i]);
      grid.count[i] = grid.first[i] < sizes.out[i] ? (sizes.out[i] - grid.first[i] - 1) / params.stride[i] + 1 : 0;
    }
  }
  for (const Axes3& tap : phase.taps) {
    Axes3 offset;
    for (std::size_t i = 0; i < 3; ++i) {
      const int64_t reach = tap[i] * params.dilation[i];
      offset[i] = params.transposed ? (grid.first[i] + sizes.before[i] - reach) / params.stride[i] : reach - sizes.before[i];
    }
    grid.offsets.push_back(offset);
  }
  join_axes(grid, params);
  return grid;
}

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
