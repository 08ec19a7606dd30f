#include "kernels/conv/band.h"

#include <algorithm>

#include "base/memory.h"

namespace niwaki {

namespace {

// Beside a band, the L2 cache (1 MiB or more where there are 512-bit vectors) holds weights and outputs.
constexpr int64_t kMostBytes = 256 * 1024;
// That of a grouped layer's block is filled anew for every block, and stays in the L1 cache (32 KiB or more) with what is written.
constexpr int64_t kMostBytesOfBlock = 16 * 1024;
constexpr int kMaskLanes = 16;  // bits of a mask

// Clears bits [begin, end) of masks of 16 pixels each, as far as there are any.
void clear(uint16_t* masks, int64_t vectors, int64_t begin, int64_t end) {
  begin = std::max<int64_t>(begin, 0);
  end = std::min(end, vectors * kMaskLanes);
  for (int64_t i = begin; i < end;) {
    const int64_t bit = i % kMaskLanes, stop = std::min(end, i - bit + kMaskLanes);
    const uint32_t bits = ((1u << (stop - i)) - 1) << bit;
    masks[i / kMaskLanes] = static_cast<uint16_t>(masks[i / kMaskLanes] & ~bits);
    i = stop;
  }
}

}  // namespace

Band::Band(const ConvParams& params, const ConvPadding& padding, const ConvKernels& kernels,
           std::span<const TapRectangle> rectangles, const Planes& in, const Planes& out)
    : params_(params), padding_(padding), kernels_(kernels), rectangles_(rectangles), in_(in), out_(out) {
  const TileSource source(params, padding, in, out);
  if (kernels.fill_band == nullptr || kernels.lanes != kMaskLanes || !source.shifted() || source.direct()) return;
  int64_t below = 0, columns = 0, panel_rows = 0;
  for (const TapRectangle& taps : rectangles) {
    const int64_t groups = taps.end - taps.begin;
    below = std::max(below, rows_below(taps));
    columns = std::max<int64_t>(columns, taps.width);
    panel_rows += groups * taps.height * taps.width;
  }
  const auto band_bytes = [&](int64_t tiles) {
    int64_t bytes = 0;
    for (const TapRectangle& taps : rectangles)
      bytes += (taps.end - taps.begin) * taps.width *
               strip_vectors(taps, tiles * (kernels.dense_vectors + kernels.dense_tail) * kernels.lanes) * 64;
    return bytes;
  };
  // So many tiles that they have twice the pixels that only other rows of taps read, of a grouped layer eight times, whose blocks multiply
  // less; fewer where the cache is too small for them.
  const int64_t times = params.groups > 1 ? 8 : 2, most_bytes = params.groups > 1 ? kMostBytesOfBlock : kMostBytes;
  int64_t tiles = 1;
  for (int64_t more = div_up(times * below, int64_t{kernels.dense_vectors} * kernels.lanes); more > tiles;) {
    const int64_t half = tiles + (more - tiles + 1) / 2;
    if (band_bytes(half) > most_bytes) more = half - 1;
    else tiles = half;
  }
  const int64_t panels = tiles * panel_rows * kernels.dense_vectors * 64;
  if (band_bytes(tiles) * 4 > panels * 3) return;
  tiles_ = tiles;
  lanes_ = tiles * (kernels.dense_vectors + kernels.dense_tail) * kernels.lanes;
  rows_ = panel_rows;
  bytes_ = band_bytes(tiles);
  int64_t masks = 0;
  for (const TapRectangle& taps : rectangles) masks = std::max(masks, taps.width * strip_vectors(taps, lanes_));
  working_bytes_ = round_up(rows_ * 4, 64) + round_up(columns * 8, 64) + round_up(masks * 2, 64);
}

// With one more, because a vector that begins within a strip may end past it.
int64_t Band::strip_vectors(const TapRectangle& taps, int64_t lanes) const {
  return div_up(lanes + rows_below(taps), kernels_.lanes) + 1;
}

const int32_t* Band::offsets(uint8_t* working) const {
  auto* offsets = reinterpret_cast<int32_t*>(working);
  int64_t begin = 0, row = 0;
  for (const TapRectangle& taps : rectangles_) {
    const int64_t strip = strip_vectors(taps, lanes_) * 64;
    for (int32_t group = taps.begin; group < taps.end; ++group, begin += taps.width * strip)
      for (int32_t y = 0; y < taps.height; ++y)
        for (int32_t x = 0; x < taps.width; ++x)
          offsets[row++] = static_cast<int32_t>(begin + x * strip + int64_t{y} * params_.dilation_h * in_.width * 4);
  }
  return offsets;
}

bool Band::same_image(int64_t first_pixel, int64_t lanes) const {
  const int64_t plane = int64_t{in_.height} * in_.width, last = std::min(first_pixel + lanes, out_.pixels()) - 1;
  return first_pixel / plane == last / plane;
}

// Which pixels of the strips of a rectangle, one strip for each of its columns, lie inside of the image. `first`: the pixel, of all
// images, with which a strip of column 0 without padding begins.
void Band::set_masks(const TapRectangle& taps, int64_t first, int64_t image, int64_t vectors, uint16_t* masks) const {
  const int64_t width = in_.width, plane = in_.height * width, lanes = vectors * kMaskLanes;
  for (int32_t x = 0; x < taps.width; ++x, masks += vectors) {
    std::fill(masks, masks + vectors, uint16_t{0xffff});
    clear(masks, vectors, 0, image * plane - first);            // above the image
    clear(masks, vectors, (image + 1) * plane - first, lanes);  // below it
    const int64_t shift = int64_t{taps.left + x} * params_.dilation_w - padding_.left;
    if (shift == 0) continue;
    // Row by row: pixels whose column, moved, lies left or right of the image.
    for (int64_t row = std::max(image * plane, first) / width * width - first; row < lanes; row += width) {
      if (shift < 0) clear(masks, vectors, row, row + std::min(-shift, width));
      else clear(masks, vectors, row + std::max<int64_t>(width - shift, 0), row + width);
    }
  }
}

BandFill Band::fill_of(const TapRectangle& taps, int64_t first_pixel, int64_t lanes, uint8_t* working) const {
  int32_t columns = 0;
  for (const TapRectangle& each : rectangles_) columns = std::max(columns, each.width);
  auto* shifts = reinterpret_cast<int64_t*>(working + round_up(rows_ * 4, 64));
  auto* masks = reinterpret_cast<uint16_t*>(reinterpret_cast<uint8_t*>(shifts) + round_up(int64_t{columns} * 8, 64));
  const int64_t image = first_pixel / (int64_t{in_.height} * in_.width);
  const int64_t first = first_pixel + (int64_t{taps.top} * params_.dilation_h - padding_.top) * in_.width;
  BandFill job{};
  job.in = in_.group(taps.begin) + first * 4;
  job.group_stride = in_.group_stride;
  job.groups = taps.end - taps.begin;
  job.strips = taps.width;
  job.vectors = static_cast<int32_t>(strip_vectors(taps, lanes) - 1);
  job.shifts = shifts;
  job.masks = masks;
  job.zeros = static_cast<uint32_t>(params_.in_zero) * 0x01010101u;
  job.strip_bytes = strip_vectors(taps, lanes_) * 64;
  for (int32_t x = 0; x < taps.width; ++x) shifts[x] = (int64_t{taps.left + x} * params_.dilation_w - padding_.left) * 4;
  set_masks(taps, first, image, job.vectors, masks);
  return job;
}

void Band::fill(int64_t first_pixel, int64_t lanes, uint8_t* working, uint8_t* band) const {
  for (const TapRectangle& taps : rectangles_) {
    BandFill job = fill_of(taps, first_pixel, lanes, working);
    job.band = band;
    kernels_.fill_band(job);
    band += job.groups * job.strips * job.strip_bytes;
  }
}

}  // namespace niwaki
