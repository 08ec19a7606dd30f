#include "kernels/conv/tiles.h"

#include <algorithm>
#include <string>

#include "base/memory.h"
#include "base/status.h"

namespace niwaki {

ConvGrid conv_grid(int64_t pixels, int32_t lanes, int32_t max_vectors, int64_t blocks, int threads) {
  ConvGrid grid{};
  grid.vectors = div_up(pixels, lanes);
  grid.tiles = div_up(grid.vectors, max_vectors);
  grid.parts = 1;
  if (threads == 1 || grid.tiles == 0) return grid;
  // The fewest parts that keep the last round of tasks nearly full: each part packs the tile again.
  double best = 0.0;
  for (int64_t parts = 1; parts <= std::min<int64_t>(blocks, 2 * threads); ++parts) {
    const int64_t tasks = grid.tiles * parts;
    const double full = static_cast<double>(tasks) / static_cast<double>(div_up(tasks, threads) * threads);
    if (full > best + 0.04) {
      best = full;
      grid.parts = parts;
    }
  }
  return grid;
}

// A row and a column that are inside add up to a lane; one that is outside makes any sum negative.
static constexpr int32_t kOutside = -(1 << 30);

TileSource::TileSource(const ConvParams& params, const Planes& in, const Planes& out) : params_(params), in_(in), out_(out) {
  if (in.pixels() >= -int64_t{kOutside})
    throw Error(Status::unsupported, "a convolution's input has " + std::to_string(in.pixels()) +
                                         " pixels in all images; at most 2^30 - 1 are possible: run smaller batches");
  // The input's lane is the output's plus a constant where both planes are alike.
  shifted_ = params.stride_h == 1 && params.stride_w == 1 && in.height == out.height && in.width == out.width;
  // ... and is the output's lane itself where there is one tap: the panel is then the input.
  direct_ = shifted_ && params.kernel_h == 1 && params.kernel_w == 1 && params.pad_top == 0 && params.pad_left == 0;
}

int64_t TileSource::bytes(const ConvParams& params, int64_t lanes) {
  const int64_t arrays = (int64_t{params.kernel_h} + params.kernel_w) * lanes * static_cast<int64_t>(sizeof(int32_t));
  const int64_t shifts = int64_t{params.kernel_h} * params.kernel_w * static_cast<int64_t>(sizeof(int64_t));
  return round_up(arrays, 64) + round_up(shifts, 64);
}

void TileSource::locate(int64_t first_pixel, int64_t lanes, int64_t pitch, uint8_t* memory, PanelFill& fill) const {
  auto* rows = reinterpret_cast<int32_t*>(memory);
  int32_t* columns = rows + params_.kernel_h * pitch;
  auto* shifts = reinterpret_cast<int64_t*>(
      memory + round_up((int64_t{params_.kernel_h} + params_.kernel_w) * pitch * static_cast<int64_t>(sizeof(int32_t)), 64));

  const int64_t plane = int64_t{out_.height} * out_.width;
  const int64_t pixels = out_.pixels();
  int64_t image = first_pixel / plane;
  auto y = static_cast<int32_t>(first_pixel % plane / out_.width);
  auto x = static_cast<int32_t>(first_pixel % out_.width);
  const int64_t count = std::min(lanes, pixels - first_pixel);
  for (int64_t p = 0; p < count; ++p) {
    const auto base = static_cast<int32_t>(image * in_.height * in_.width);
    for (int32_t ky = 0; ky < params_.kernel_h; ++ky) {
      const int32_t row = y * params_.stride_h - params_.pad_top + ky * params_.dilation_h;
      rows[ky * pitch + p] = row >= 0 && row < in_.height ? base + row * in_.width : kOutside;
    }
    for (int32_t kx = 0; kx < params_.kernel_w; ++kx) {
      const int32_t column = x * params_.stride_w - params_.pad_left + kx * params_.dilation_w;
      columns[kx * pitch + p] = column >= 0 && column < in_.width ? column : kOutside;
    }
    if (++x == out_.width) {
      x = 0;
      if (++y == out_.height) {
        y = 0;
        ++image;
      }
    }
  }
  for (int32_t k = 0; k < params_.kernel_h; ++k) std::fill(rows + k * pitch + count, rows + k * pitch + lanes, kOutside);
  for (int32_t k = 0; k < params_.kernel_w; ++k) std::fill(columns + k * pitch + count, columns + k * pitch + lanes, kOutside);
  if (shifted_) {
    for (int32_t ky = 0; ky < params_.kernel_h; ++ky)
      for (int32_t kx = 0; kx < params_.kernel_w; ++kx)
        shifts[ky * params_.kernel_w + kx] = (int64_t{ky} * params_.dilation_h - params_.pad_top) * in_.width +
                                             int64_t{kx} * params_.dilation_w - params_.pad_left;
  }
  fill.rows = rows;
  fill.columns = columns;
  fill.pitch = pitch;
  fill.kernel_h = params_.kernel_h;
  fill.kernel_w = params_.kernel_w;
  fill.shifted = shifted_;
  fill.first_pixel = first_pixel;
  fill.shifts = shifts;
  fill.zeros = static_cast<uint32_t>(params_.in_zero) * 0x01010101u;
}

}  // namespace niwaki
