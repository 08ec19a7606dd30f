#include "kernels/conv/band.h"

#include <algorithm>

#include "base/memory.h"

namespace niwaki {

namespace {

// Beside a band, the L2 cache (1 MiB or more where there are 512-bit vectors) holds weights and outputs.
constexpr int64_t kMostBytes = 256 * 1024;
// That of a grouped layer's block is filled anew for every block, and stays in the L1 cache (32 KiB or more) with what is written.
constexpr int64_t kMostBytesOfBlock = 24 * 1024;
// That of a layer with few rows stays in the L1 cache.
constexpr int64_t kFewBytes = 32 * 1024;
constexpr int64_t kMostOffset = (int64_t{1} << 31) - 1;
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
           std::span<const TapRectangle> rectangles, int32_t tile_vectors, const Planes& in, const Planes& out)
    : params_(params),
      padding_(padding),
      kernels_(kernels),
      rectangles_(rectangles),
      tile_vectors_(tile_vectors),
      in_(in),
      out_(out) {
  const TileSource source(params, padding, in, out);
  if (kernels.fill_band == nullptr || kernels.lanes != kMaskLanes || source.direct() || out.pixels() == 0) return;
  in_rows_ = !source.shifted();
  // With dilation, remainders of rows of taps by the stride come in any order: no strips for them.
  if (in_rows_ && (params.stride_w > 2 || (params.stride_h > 1 && params.dilation_h > 1))) return;
  choose_tiles();
}

void Band::choose_tiles() {
  int64_t below = 0, masks = 0;
  for (const TapRectangle& taps : rectangles_) {
    below = std::max(below, rows_below(taps) * out_.width);
    columns_ = std::max<int64_t>(columns_, taps.width);
    phases_ = std::max(phases_, phases(taps));
    rows_ += int64_t{taps.end - taps.begin} * taps.height * taps.width;
  }
  // So many tiles that they have twice the pixels that only other rows of taps read, of a grouped layer eight times, whose blocks multiply
  // less, and where strips have whole rows that few of these are for a part of their pixels; fewer where the cache is too small for them.
  const bool grouped = params_.groups > 1;
  const int64_t most_bytes = grouped ? kMostBytesOfBlock : kMostBytes;
  const int64_t tile_lanes = int64_t{tile_vectors_} * kernels_.lanes;
  const int64_t wanted = std::max((grouped ? 8 : 2) * below, in_rows_ ? int64_t{8} * out_.width : 0);
  const auto tiles_for = [&](int64_t pixels, int64_t bytes) {
    int64_t tiles = 1;
    for (int64_t more = div_up(pixels, tile_lanes); more > tiles;) {
      const int64_t half = tiles + (more - tiles + 1) / 2;
      if (band_bytes(half) > bytes) more = half - 1;
      else tiles = half;
    }
    return tiles;
  };
  int64_t tiles = tiles_for(wanted, most_bytes);
  // With few rows, what is done once for a band takes longer than what is read twice.
  if (!grouped && !in_rows_) tiles = std::max(tiles, tiles_for(out_.pixels(), kFewBytes));
  const int64_t bytes = band_bytes(tiles), vectors = tiles * rows_ * tile_vectors_;  // vectors: of panels
  if (bytes > kMostOffset) return;
  // A panel takes as long as so many vectors besides, for where each of its pixels lies is found anew: of a grouped layer, with few channels, its
  // vectors take as long as two copies.
  constexpr int64_t kPanel = 30;
  if (in_rows_ ? row_copies(tiles) * 4 > vectors * (grouped ? 8 : 5) : bytes * 4 > (vectors + tiles * kPanel) * 64 * 3) return;
  tiles_ = tiles;
  lanes_ = lanes_of(tiles);
  bytes_ = bytes;
  for (const TapRectangle& taps : rectangles_)
    masks = std::max(masks, taps.width * (in_rows_ ? row_vectors() * 2 : strip_bytes(taps, lanes_) / 64));
  working_bytes_ = masks_at() + round_up(masks * 2, 64);
}

// With one vector more, because one that begins within a strip may end past it.
int64_t Band::strip_bytes(const TapRectangle& taps, int64_t lanes) const {
  if (!in_rows_) return (div_up(lanes + rows_below(taps) * out_.width, kernels_.lanes) + 1) * 64;
  const int64_t rows =
      (lanes + out_.width - 2) / out_.width + 1 + rows_below(taps);  // that so many pixels touch, wherever they begin
  return round_up(rows * out_.width * 4, 64) + 64;
}

// Vectors that a band in rows copies. Those of narrow planes have few pixels each, and those of panels would be full.
int64_t Band::row_copies(int64_t tiles) const {
  int64_t copies = 0;
  for (const TapRectangle& taps : rectangles_)
    copies += (taps.end - taps.begin) * strips(taps) * rows_of(taps, tiles * tile_vectors_ * kernels_.lanes) * row_vectors();
  return copies;
}

int64_t Band::band_bytes(int64_t tiles) const {
  int64_t bytes = 0;
  for (const TapRectangle& taps : rectangles_)
    bytes += (taps.end - taps.begin) * strips(taps) * strip_bytes(taps, lanes_of(tiles));
  return bytes;
}

const int32_t* Band::offsets(uint8_t* working) const {
  auto* offsets = reinterpret_cast<int32_t*>(working);
  int64_t begin = 0, row = 0;
  for (const TapRectangle& taps : rectangles_) {
    const int64_t strip = strip_bytes(taps, lanes_);
    for (int32_t group = taps.begin; group < taps.end; ++group, begin += strips(taps) * strip)
      for (int32_t y = 0; y < taps.height; ++y)
        for (int32_t x = 0; x < taps.width; ++x) {
          const int64_t down = int64_t{y} * params_.dilation_h, phase = in_rows_ ? down % params_.stride_h : 0;
          const int64_t rows = down / params_.stride_h;
          offsets[row++] = static_cast<int32_t>(begin + (phase * taps.width + x) * strip + rows * out_.width * 4);
        }
  }
  return offsets;
}

// Which pixels of the strips of a rectangle, one strip for each of its columns, lie inside of the image. `first`: the pixel, of all
// images, with which a strip of column 0 without padding begins.
void Band::set_masks(const TapRectangle& taps, int64_t first, int64_t image, int64_t vectors, uint16_t* masks) const {
  const int64_t width = in_.width, plane = in_.height * width, lanes = vectors * kMaskLanes;
  for (int32_t x = 0; x < taps.width; ++x, masks += vectors) {
    std::fill(masks, masks + vectors, uint16_t{0xffff});
    clear(masks, vectors, 0, image * plane - first);            // above the image
    clear(masks, vectors, (image + 1) * plane - first, lanes);  // below it
    const int64_t shift = left_of(taps, x);
    if (shift == 0) continue;
    // Row by row: pixels whose column, moved, lies left or right of the image.
    for (int64_t row = std::max(image * plane, first) / width * width - first; row < lanes; row += width) {
      if (shift < 0) clear(masks, vectors, row, row + std::min(-shift, width));
      else clear(masks, vectors, row + std::max<int64_t>(width - shift, 0), row + width);
    }
  }
}

// The same of rows, of twice as many pixels of the input.
void Band::set_row_masks(const TapRectangle& taps, uint16_t* masks) const {
  for (int32_t x = 0; x < taps.width; ++x)
    for (int64_t v = 0; v < row_vectors(); ++v, masks += 2) {
      const int64_t left = left_of(taps, x) + v * kMaskLanes * params_.stride_w;
      masks[0] = masks[1] = 0xffff;
      clear(masks, 2, 0, -left);
      clear(masks, 2, in_.width - left, int64_t{2} * kMaskLanes);
    }
}

BandFill Band::fill_of(const TapRectangle& taps, int64_t first_pixel, int64_t lanes, uint8_t* working) const {
  auto* shifts = reinterpret_cast<int64_t*>(working + shifts_at());
  auto* tops = reinterpret_cast<int64_t*>(working + tops_at());
  auto* masks = reinterpret_cast<uint16_t*>(working + masks_at());
  const int64_t plane = int64_t{out_.height} * out_.width, image = first_pixel / plane;
  BandFill job{};
  job.group_stride = in_.group_stride;
  job.groups = taps.end - taps.begin;
  job.strips = static_cast<int32_t>(strips(taps));
  job.shifts = shifts;
  job.masks = masks;
  job.zeros = static_cast<uint32_t>(params_.in_zero) * 0x01010101u;
  job.strip_bytes = strip_bytes(taps, lanes_);
  for (int32_t x = 0; x < taps.width; ++x) shifts[x] = left_of(taps, x) * 4;
  const int64_t top = int64_t{taps.top} * params_.dilation_h - padding_.top;
  if (!in_rows_) {
    const int64_t first = first_pixel + top * in_.width;
    job.in = in_.group(taps.begin) + first * 4;
    job.vectors = static_cast<int32_t>(strip_bytes(taps, lanes) / 64 - 1);
    set_masks(taps, first, image, job.vectors, masks);
    return job;
  }
  const int64_t last = std::min(first_pixel + lanes, (image + 1) * plane) - 1;
  const int64_t begin = first_pixel % plane / out_.width, end = last % plane / out_.width + 1;
  for (int64_t phase = 0; phase < phases(taps); ++phase) tops[phase] = begin * params_.stride_h + top + phase;
  job.in = in_.group(taps.begin) + image * in_.height * in_.width * 4;
  job.vectors = static_cast<int32_t>(row_vectors());
  job.tops = tops;
  job.rows = static_cast<int32_t>(end - begin + rows_below(taps));
  job.row_lanes = out_.width;
  job.columns = taps.width;
  job.stride_h = params_.stride_h;
  job.stride_w = params_.stride_w;
  job.in_height = in_.height;
  job.in_width = in_.width;
  set_row_masks(taps, masks);
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

bool Band::same_image(int64_t first_pixel, int64_t lanes) const {
  const int64_t plane = int64_t{out_.height} * out_.width, last = std::min(first_pixel + lanes, out_.pixels()) - 1;
  return first_pixel / plane == last / plane;
}

}  // namespace niwaki
