// The pixels of a phase in tiles, and what the taps see there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/common/window_rows.h"

namespace niwaki {

// The outputs of one phase: number i along an axis is output `first + i * step`, and a tap of it sees input `i * in_step + offset`.
struct PhaseGrid {
  int64_t images;
  Axes3 count;
  Axes3 first, step;  // of outputs
  Axes3 in_step;
  Axes3 in, out;               // whole planes
  std::vector<Axes3> offsets;  // of each tap
  int64_t pixels() const { return images * volume(count); }
};

// A piece of a row of outputs in a tile.
struct TileRun {
  int64_t image;
  Axes3 at;            // of its first pixel, in the grid
  int32_t begin, end;  // in the tile
};
// Pixels [first, last) of the grid. `runs` has room for them; returns how many they are.
int64_t find_runs(const PhaseGrid& grid, int64_t first, int64_t last, TileRun* runs);

// What a tap sees of a run: pixels [low, high) of the tile lie inside of the image, the first of them at `offset` from the plane of image 0
// and channel 0.
struct TapRun {
  int64_t offset;
  int32_t low, high;
};
// [taps][runs]
void find_taps(const PhaseGrid& grid, int64_t in_channels, std::span<const TileRun> runs, TapRun* taps);

// Rows [first, last) of (input channel, tap) for the pixels of a tile; what lies behind them up to row_floats becomes 0. in: the first
// channel of the group in image 0.
void fill_panel(const PhaseGrid& grid, const float* in, std::span<const TileRun> runs, const TapRun* taps, int64_t first,
                int64_t last, float* panel, int64_t row_floats);

// Rows of sums to planes of outputs. out: the plane of the first row's channel in image 0; out_channels: planes of an image.
void store_sums(const PhaseGrid& grid, const float* sums, int64_t row_floats, std::span<const TileRun> runs, int64_t channels,
                int64_t out_channels, float* out);

}  // namespace niwaki
