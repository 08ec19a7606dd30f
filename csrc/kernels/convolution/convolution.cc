#include "kernels/convolution/convolution.h"

#include <algorithm>

#include "kernels/common/partition.h"
#include "kernels/convolution/panel.h"

namespace niwaki {
namespace {

// Rows of a panel that are multiplied before the next ones are copied: with their weights they stay in the first cache.
constexpr int64_t kPanelRows = 128;
constexpr int64_t kMostTilePixels = 128, kLeastTilePixels = 32;

// How the work on a phase is cut: its pixels into tiles, and, where these are fewer than threads, the channels of a group into parts.
struct Cut {
  int64_t vectors;  // of 16 pixels
  int64_t tiles;
  int64_t tile_floats;    // pixels of the largest tile, in whole vectors
  int64_t part_channels;  // of whole blocks
  int64_t parts;

  static Cut of(const ConvolutionWeights& weights, const PhaseGrid& grid, int threads) {
    Cut cut{};
    cut.vectors = div_up(grid.pixels(), 16);
    const auto count = [&](int64_t pixels) { return div_up(cut.vectors, pixels / 16); };
    int64_t pixels = kMostTilePixels;
    while (pixels > kLeastTilePixels && count(pixels) * weights.params.groups < 2 * threads) pixels /= 2;
    cut.tiles = count(pixels);
    cut.tile_floats = cut.tiles > 0 ? div_up(cut.vectors, cut.tiles) * 16 : 0;
    const int64_t tasks = std::max<int64_t>(cut.tiles * weights.params.groups, 1);
    const int64_t blocks = std::max<int64_t>(div_up(weights.out_group(), weights.width), 1);
    cut.part_channels = div_up(blocks, std::min(blocks, div_up(threads, tasks))) * weights.width;
    cut.parts = div_up(weights.out_group(), cut.part_channels);
    return cut;
  }
};

// What a thread works with.
struct TileScratch {
  int64_t run_bytes, tap_bytes, panel_bytes, sum_bytes;

  static TileScratch of(const PhaseGrid& grid, const Cut& cut) {
    // A tile has a run for each row that it touches.
    const int64_t width = std::max<int64_t>(grid.count[2], 1), runs = std::min(cut.tile_floats, cut.tile_floats / width + 2);
    return {round_up(runs * int64_t{sizeof(TileRun)}, kCacheLine),
            round_up(runs * static_cast<int64_t>(grid.offsets.size()) * int64_t{sizeof(TapRun)}, kCacheLine),
            kPanelRows * cut.tile_floats * 4, cut.part_channels * cut.tile_floats * 4};
  }
  int64_t bytes() const { return run_bytes + tap_bytes + panel_bytes + sum_bytes; }
};

struct Work {
  const ConvolutionWeights& weights;
  const ConvolutionPhase& phase;
  const PhaseGrid& grid;
  const Cut& cut;
  const TileScratch& layout;
  const float* in;
  float* out;
};

// Channels [first, last) of a group for the pixels of a tile.
void run_tile(const Work& work, int64_t tile, int64_t group, int64_t first, int64_t last, uint8_t* scratch) {
  auto* run_memory = reinterpret_cast<TileRun*>(scratch);
  auto* taps = reinterpret_cast<TapRun*>(scratch += work.layout.run_bytes);
  auto* panel = reinterpret_cast<float*>(scratch += work.layout.tap_bytes);
  auto* sums = reinterpret_cast<float*>(scratch += work.layout.panel_bytes);
  const ConvolutionWeights& weights = work.weights;
  const PhaseGrid& grid = work.grid;
  const int64_t begin = work.cut.vectors * tile / work.cut.tiles * 16;
  const int64_t end = std::min(work.cut.vectors * (tile + 1) / work.cut.tiles * 16, grid.pixels());
  const std::span<const TileRun> runs(run_memory, static_cast<std::size_t>(find_runs(grid, begin, end, run_memory)));
  find_taps(grid, weights.params.in_channels, runs, taps);

  const int64_t row_floats = round_up(end - begin, 16), channel = group * weights.out_group() + first, width = weights.width;
  for (int64_t c = 0; c < last - first; ++c)
    std::fill_n(sums + c * row_floats, row_floats, weights.bias.as<float>()[channel + c]);

  const int64_t block = group * div_up(weights.out_group(), width) + first / width;
  const float* in = work.in + group * weights.in_group() * volume(grid.in);
  const int64_t rows = weights.in_group() * static_cast<int64_t>(grid.offsets.size());
  for (int64_t row = 0; row < rows; row += kPanelRows) {
    const int64_t count = std::min(kPanelRows, rows - row);
    fill_panel(grid, in, runs, taps, row, row + count, panel, row_floats);
    const float* of_rows = weights.weights.as<float>() + work.phase.weights + block * work.phase.block_floats + row * width;
    weights.kernel->multiply(
        {panel, of_rows, sums, row_floats, work.phase.block_floats, count, last - first, end - begin, width});
  }
  store_sums(grid, sums, row_floats, runs, last - first, weights.params.out_channels, work.out + channel * volume(grid.out));
}

void run_phase(const ConvolutionWeights& weights, const ConvolutionPhase& phase, const float* in, float* out,
               const ConvolutionSizes& sizes, uint8_t* scratch, int64_t scratch_step, ThreadPool& pool) {
  const PhaseGrid grid = grid_of(weights.params, phase, sizes);
  const Cut cut = Cut::of(weights, grid, pool.threads());
  const TileScratch layout = TileScratch::of(grid, cut);
  const Work work{weights, phase, grid, cut, layout, in, out};
  pool.run(cut.tiles * weights.params.groups * cut.parts, [&](int64_t task, int thread) {
    const int64_t part = task % cut.parts, tile = task / cut.parts % cut.tiles, group = task / cut.parts / cut.tiles;
    const int64_t first = part * cut.part_channels, last = std::min(first + cut.part_channels, weights.out_group());
    run_tile(work, tile, group, first, last, scratch + thread * scratch_step);
  });
}

WindowAxes window_axes(const ConvolutionParams& params, const ConvolutionSizes& sizes) {
  return {sizes.in, sizes.out, params.kernel, params.stride, params.dilation, sizes.before};
}

void run_depthwise(const ConvolutionWeights& weights, const float* in, float* out, const ConvolutionSizes& sizes,
                   uint8_t* scratch, int64_t scratch_step, ThreadPool& pool) {
  const WindowAxes axes = window_axes(weights.params, sizes);
  const WindowRows rows(axes, 0.0f);
  const int64_t out_plane = volume(sizes.out), in_plane = volume(sizes.in), out_channels = weights.params.out_channels;
  const int64_t multiplier = weights.out_group();
  pool.run(sizes.images * out_channels * rows.bands(), [&](int64_t task, int thread) {
    const int64_t band = task % rows.bands(), plane = task / rows.bands(), channel = plane % out_channels;
    const float* from = in + (plane / out_channels * weights.params.in_channels + channel / multiplier) * in_plane;
    rows.run(from, band, scratch + thread * scratch_step, [&](const float* const* taps, int64_t index) {
      weights.kernel->multiply_taps({taps, weights.weights.as<float>() + channel * axes.taps(), axes.taps(),
                                     weights.bias.as<float>()[channel], out + plane * out_plane + index, sizes.out[2]});
    });
  });
}

}  // namespace

int64_t convolution_scratch(const ConvolutionWeights& weights, const ConvolutionSizes& sizes, int threads) {
  if (weights.depthwise) return WindowRows(window_axes(weights.params, sizes), 0.0f).scratch_bytes();
  int64_t most = 0;
  for (const ConvolutionPhase& phase : weights.phases) {
    const PhaseGrid grid = grid_of(weights.params, phase, sizes);
    most = std::max(most, TileScratch::of(grid, Cut::of(weights, grid, threads)).bytes());
  }
  return most;
}

void convolution(const ConvolutionWeights& weights, const float* in, float* out, const ConvolutionSizes& sizes, uint8_t* scratch,
                 int64_t scratch_step, ThreadPool& pool) {
  if (weights.depthwise) return run_depthwise(weights, in, out, sizes, scratch, scratch_step, pool);
  if (weights.gaps) {
    const int64_t plane = volume(sizes.out);
    for_each_part(sizes.images * weights.params.out_channels, 1, plane * 4, pool,
                  [&](int64_t begin, int64_t end, int64_t, int64_t) {
                    for (int64_t i = begin; i < end; ++i)
                      std::fill_n(out + i * plane, plane, weights.bias.as<float>()[i % weights.params.out_channels]);
                  });
  }
  for (const ConvolutionPhase& phase : weights.phases) run_phase(weights, phase, in, out, sizes, scratch, scratch_step, pool);
}

}  // namespace niwaki
