#include "kernels/convolution/convolution.h"

#include <algorithm>

#include "kernels/common/partition.h"

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

// Rows of a panel that are multiplied before the next ones are copied: with their weights they stay in the first cache.
constexpr int64_t kPanelRows = 128;
constexpr int64_t kMostTilePixels = 128, kLeastTilePixels = 32;

}  // namespace

ConvolutionPlan::ConvolutionPlan(const ConvolutionWeights& weights, const ConvolutionSizes& sizes, int threads)
    : weights_(weights), sizes_(sizes) {
  const ConvolutionParams& p = weights.params;
  if (weights.depthwise) {
    rows_.emplace(WindowAxes{sizes.in, sizes.out, p.kernel, p.stride, p.dilation, sizes.before}, 0.0f, WindowRows::Outside::seen);
    return;
  }
  for (const ConvolutionPhase& phase : weights.phases) {
    phases_.push_back({.grid = grid_of(p, phase, sizes), .weights = phase.weights, .block_floats = phase.block_floats});
    cut(phases_.back(), threads);
  }
}

void ConvolutionPlan::cut(PhasePlan& phase, int threads) const {
  const int64_t groups = weights_.params.groups;
  phase.vectors = div_up(phase.grid.pixels(), 16);
  const auto tiles_of = [&](int64_t pixels) { return div_up(phase.vectors, pixels / 16); };
  int64_t pixels = kMostTilePixels;
  while (pixels > kLeastTilePixels && tiles_of(pixels) * groups < 2 * threads) pixels /= 2;
  phase.tiles = tiles_of(pixels);
  phase.tile_floats = phase.tiles > 0 ? div_up(phase.vectors, phase.tiles) * 16 : 0;

  const int64_t tasks = std::max<int64_t>(phase.tiles * groups, 1);
  const int64_t blocks = std::max<int64_t>(div_up(weights_.out_group(), weights_.width), 1);
  phase.part_channels = div_up(blocks, std::min(blocks, div_up(threads, tasks))) * weights_.width;
  phase.parts = div_up(weights_.out_group(), phase.part_channels);

  // A tile has a run for each row that it touches.
  const int64_t width = std::max<int64_t>(phase.grid.count[2], 1),
                runs = std::min(phase.tile_floats, phase.tile_floats / width + 2);
  phase.run_bytes = round_up(runs * int64_t{sizeof(TileRun)}, kCacheLine);
  phase.tap_bytes = round_up(runs * static_cast<int64_t>(phase.grid.offsets.size()) * int64_t{sizeof(TapRun)}, kCacheLine);
}

int64_t ConvolutionPlan::scratch_bytes() const {
  if (rows_) return rows_->scratch_bytes();
  int64_t most = 0;
  for (const PhasePlan& phase : phases_)
    most = std::max(most, phase.run_bytes + phase.tap_bytes + (kPanelRows + phase.part_channels) * phase.tile_floats * 4);
  return most;
}

void ConvolutionPlan::run(const float* in, float* out, uint8_t* scratch, int64_t scratch_step, ThreadPool& pool) const {
  if (rows_) return run_depthwise(in, out, scratch, scratch_step, pool);
  if (weights_.gaps) fill_with_bias(out, pool);
  for (const PhasePlan& phase : phases_) run_phase(phase, in, out, scratch, scratch_step, pool);
}

void ConvolutionPlan::run_phase(const PhasePlan& phase, const float* in, float* out, uint8_t* scratch, int64_t scratch_step,
                                ThreadPool& pool) const {
  pool.run(phase.tiles * weights_.params.groups * phase.parts, [&](int64_t task, int thread) {
    const int64_t part = task % phase.parts, tile = task / phase.parts % phase.tiles, group = task / phase.parts / phase.tiles;
    const int64_t first = part * phase.part_channels, last = std::min(first + phase.part_channels, weights_.out_group());
    run_tile(phase, tile, group, first, last, in, out, scratch + thread * scratch_step);
  });
}

// Channels [first, last) of a group for the pixels of a tile.
void ConvolutionPlan::run_tile(const PhasePlan& phase, int64_t tile, int64_t group, int64_t first, int64_t last, const float* in,
                               float* out, uint8_t* scratch) const {
  auto* run_memory = reinterpret_cast<TileRun*>(scratch);
  auto* taps = reinterpret_cast<TapRun*>(scratch + phase.run_bytes);
  auto* panel = reinterpret_cast<float*>(scratch + phase.run_bytes + phase.tap_bytes);
  float* sums = panel + kPanelRows * phase.tile_floats;
  const PhaseGrid& grid = phase.grid;
  const int64_t begin = phase.vectors * tile / phase.tiles * 16;
  const int64_t end = std::min(phase.vectors * (tile + 1) / phase.tiles * 16, grid.pixels());
  const std::span<const TileRun> runs(run_memory, static_cast<std::size_t>(find_runs(grid, begin, end, run_memory)));
  find_taps(grid, weights_.params.in_channels, runs, taps);

  const int64_t row_floats = round_up(end - begin, 16), channel = group * weights_.out_group() + first, width = weights_.width;
  for (int64_t c = 0; c < last - first; ++c)
    std::fill_n(sums + c * row_floats, row_floats, weights_.bias.as<float>()[channel + c]);

  const int64_t block = group * div_up(weights_.out_group(), width) + first / width;
  const float* group_in = in + group * weights_.in_group() * volume(grid.in);
  const int64_t rows = weights_.in_group() * static_cast<int64_t>(grid.offsets.size());
  for (int64_t row = 0; row < rows; row += kPanelRows) {
    const int64_t count = std::min(kPanelRows, rows - row);
    fill_panel(grid, group_in, runs, taps, row, row + count, panel, row_floats);
    const float* of_rows = weights_.weights.as<float>() + phase.weights + block * phase.block_floats + row * width;
    weights_.kernel->multiply({.panel = panel,
                               .weights = of_rows,
                               .sums = sums,
                               .row_floats = row_floats,
                               .block_floats = phase.block_floats,
                               .rows = count,
                               .channels = last - first,
                               .pixels = end - begin,
                               .width = width});
  }
  store_sums(grid, sums, row_floats, runs, last - first, weights_.params.out_channels, out + channel * volume(grid.out));
}

void ConvolutionPlan::run_depthwise(const float* in, float* out, uint8_t* scratch, int64_t scratch_step, ThreadPool& pool) const {
  const int64_t out_plane = volume(sizes_.out), in_plane = volume(sizes_.in), taps = volume(weights_.params.kernel);
  const int64_t out_channels = weights_.params.out_channels, bands = rows_->bands();
  pool.run(sizes_.images * out_channels * bands, [&](int64_t task, int thread) {
    const int64_t plane = task / bands, channel = plane % out_channels;
    const float* from = in + (plane / out_channels * weights_.params.in_channels + channel / weights_.out_group()) * in_plane;
    rows_->run(from, task % bands, scratch + thread * scratch_step, [&](const float* const* seen, int64_t, int64_t index) {
      weights_.kernel->multiply_taps({.taps = seen,
                                      .weights = weights_.weights.as<float>() + channel * taps,
                                      .tap_count = taps,
                                      .bias = weights_.bias.as<float>()[channel],
                                      .out = out + plane * out_plane + index,
                                      .count = sizes_.out[2]});
    });
  });
}

void ConvolutionPlan::fill_with_bias(float* out, ThreadPool& pool) const {
  const int64_t plane = volume(sizes_.out), channels = weights_.params.out_channels;
  for_each_part(sizes_.images * channels, 1, plane * 4, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    for (int64_t i = begin; i < end; ++i) std::fill_n(out + i * plane, plane, weights_.bias.as<float>()[i % channels]);
  });
}

}  // namespace niwaki
