#include "kernels/conv/tiles.h"

#include <algorithm>
#include <string>

#include "base/memory.h"
#include "base/status.h"

namespace niwaki {

ConvGrid conv_grid(int64_t pixels, int32_t lanes, int32_t max_vectors, const TileTails& tails, int64_t blocks, int threads,
                   int64_t task_tiles) {
  // Tiles for each thread from which on the last one to finish is late by little, and others may take over what it has left.
  constexpr int64_t kEnough = 2, kMostTasks = 32;
  ConvGrid grid{};
  grid.lanes = lanes;
  grid.vectors = div_up(pixels, lanes);
  grid.tiles = div_up(grid.vectors, max_vectors);
  const int64_t whole = pixels / lanes, rest = pixels % lanes, tiles = div_up(whole, max_vectors);
  grid.last_tail = tails.last > 0;
  if (rest > 0 && tiles > 0 && rest <= (grid.last_tail ? tails.last : tiles * tails.each)) {
    grid.vectors = whole;
    grid.tails = rest;
    grid.tiles = tiles;
  }
  grid.blocks = blocks;
  grid.whole_tiles = threads == 1 || grid.tiles >= kEnough * threads;
  if (grid.whole_tiles) {
    if (threads > 1) grid.tiles = std::min(round_up(grid.tiles, threads), grid.vectors);
    // Setting up a task takes as long as a tenth of a small tile; what the last one to finish is late by is a share of its tasks.
    grid.tasks = std::min(grid.tiles, round_up(div_up(grid.tiles, task_tiles), threads));
    grid.tasks = std::min(grid.tasks, threads == 1 ? 1 : kMostTasks * threads);
  } else {
    grid.tasks = std::min<int64_t>(threads, grid.tiles * blocks);
  }
  return grid;
}

// A row above every image, whatever is added to it for a tap.
static constexpr int32_t kOutside = -(1 << 30);

TileSource::TileSource(const ConvParams& params, const ConvPadding& padding, const Planes& in, const Planes& out)
    : params_(params), padding_(padding), in_(in), out_(out) {
  if (in.pixels() >= -int64_t{kOutside})
    throw Error(Status::unsupported, "a convolution's input has " + std::to_string(in.pixels()) +
                                         " pixels in all images; at most 2^30 - 1 are possible: run smaller batches");
  // The input's lane is the output's plus a constant where both planes are alike.
  shifted_ = params.stride_h == 1 && params.stride_w == 1 && in.height == out.height && in.width == out.width;
  // ... and is the output's lane itself where there is one tap: the panel is then the input. Padding would make the output larger.
  direct_ = shifted_ && params.kernel_h == 1 && params.kernel_w == 1;
}

void TileSource::locate(int64_t first_pixel, int64_t lanes, uint8_t* memory, PanelFill& fill) const {
  auto* top = reinterpret_cast<int32_t*>(memory);
  int32_t* left = top + lanes;
  int32_t* origin = left + lanes;
  const int64_t plane = int64_t{out_.height} * out_.width;
  int64_t image = first_pixel / plane;
  auto y = static_cast<int32_t>(first_pixel % plane / out_.width);
  auto x = static_cast<int32_t>(first_pixel % out_.width);
  const int64_t count = std::min(lanes, out_.pixels() - first_pixel);
  for (int64_t p = 0; p < count;) {  // the rest of one row of the output at a time
    const int64_t end = std::min(count, p + out_.width - x);
    const int32_t row = y * params_.stride_h - padding_.top;
    const auto base = static_cast<int32_t>(image * in_.height * in_.width);
    for (int32_t column = x * params_.stride_w - padding_.left; p < end; ++p, column += params_.stride_w) {
      top[p] = row;
      left[p] = column;
      origin[p] = base;
    }
    x = 0;
    if (++y == out_.height) {
      y = 0;
      ++image;
    }
  }
  for (int64_t p = count; p < lanes; ++p) {
    top[p] = kOutside;
    left[p] = origin[p] = 0;
  }
  fill.top = top;
  fill.left = left;
  fill.origin = origin;
  fill.kernel_h = params_.kernel_h;
  fill.kernel_w = params_.kernel_w;
  fill.dilation_h = params_.dilation_h;
  fill.dilation_w = params_.dilation_w;
  fill.in_height = in_.height;
  fill.in_width = in_.width;
  fill.shifted = shifted_;
  fill.first_lane = first_pixel - int64_t{padding_.top} * in_.width - padding_.left;
  fill.zeros = static_cast<uint32_t>(params_.in_zero) * 0x01010101u;
}

}  // namespace niwaki
