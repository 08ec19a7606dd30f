// The inputs of neighbouring tiles, without a copy for every tap.
//
// A band has strips for each group of channels: all pixels that some row of taps reads for the tiles, moved by a column of taps, with zero
// points where they lie outside of the image. A row of a panel is then a part of a strip; for the next row of taps it begins one row of the
// image later. So a 3 x 3 layer copies each pixel three times and a little instead of nine times. Where the output's rows are not the
// input's, a strip has the pixels of the output's rows, and there is one for each column of taps and each remainder of a row of taps by the
// stride: six with stride 2. Loads straddle two cache lines: dense kernels have ports to spare for that, sparse kernels don't.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernels/conv/conv.h"
#include "kernels/conv/kernel.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

class Band {
 public:
  // rectangles: as they lie in the panel, one after the other; tile_vectors: of a tile, the most. All arguments are kept.
  Band(const ConvParams& params, const ConvPadding& padding, const ConvKernels& kernels, std::span<const TapRectangle> rectangles,
       int32_t tile_vectors, const Planes& in, const Planes& out);

  // Tiles of a band; 0 where panels take less.
  int64_t tiles() const { return tiles_; }

  int64_t bytes() const { return bytes_; }                  // of a band
  int64_t working_bytes() const { return working_bytes_; }  // of what `offsets` and `fill` need besides
  // Writes the offsets of all rows, in the order of the panel, for DenseTile: add 4 bytes for each pixel after begin_of the band's first.
  // `working`: working_bytes(), 64-byte aligned.
  const int32_t* offsets(uint8_t* working) const;

  // What fills the strips of a rectangle: all but where they lie, and for as many groups as the rectangle has. `working` as below.
  BandFill fill_of(const TapRectangle& taps, int64_t first_pixel, int64_t lanes, uint8_t* working) const;
  // Fills the band of `lanes` pixels from `first_pixel` on; of those that exist, all lie in one image (see `same_image`).
  void fill(int64_t first_pixel, int64_t lanes, uint8_t* working, uint8_t* band) const;
  bool same_image(int64_t first_pixel, int64_t lanes) const;
  // The pixel with which the strips of such a band begin.
  int64_t begin_of(int64_t first_pixel) const { return in_rows_ ? first_pixel / out_.width * out_.width : first_pixel; }

 private:
  void choose_tiles();
  int64_t rows_below(const TapRectangle& taps) const {  // of a strip, from the first to the last row of taps
    return int64_t{taps.height - 1} * params_.dilation_h / params_.stride_h;
  }
  // Of the rows of taps, whose remainders by the stride are 0, 1 and so on where there is no dilation.
  int64_t phases(const TapRectangle& taps) const { return in_rows_ ? std::min(taps.height, params_.stride_h) : 1; }
  int64_t strips(const TapRectangle& taps) const { return phases(taps) * taps.width; }
  int64_t strip_bytes(const TapRectangle& taps, int64_t lanes) const;
  // Of a strip in rows: those that so many pixels touch, wherever they begin.
  int64_t rows_of(const TapRectangle& taps, int64_t lanes) const {
    return (lanes + out_.width - 2) / out_.width + 1 + rows_below(taps);
  }
  int64_t row_copies(int64_t tiles) const;
  int64_t band_bytes(int64_t tiles) const;
  int64_t lanes_of(int64_t tiles) const { return tiles * (tile_vectors_ + kernels_.dense_tail) * kernels_.lanes; }
  int64_t row_vectors() const { return div_up(out_.width, kernels_.lanes); }
  // Where they keep what, in working memory: offsets come first.
  int64_t shifts_at() const { return round_up(rows_ * 4, 64); }
  int64_t tops_at() const { return shifts_at() + round_up(columns_ * 8, 64); }
  int64_t masks_at() const { return tops_at() + round_up(phases_ * 8, 64); }
  void set_masks(const TapRectangle& taps, int64_t first, int64_t image, int64_t vectors, uint16_t* masks) const;
  void set_row_masks(const TapRectangle& taps, uint16_t* masks) const;
  int64_t left_of(const TapRectangle& taps, int32_t x) const {
    return int64_t{taps.left + x} * params_.dilation_w - padding_.left;
  }

  const ConvParams& params_;
  const ConvPadding padding_;
  const ConvKernels& kernels_;
  std::span<const TapRectangle> rectangles_;
  const int32_t tile_vectors_;
  const Planes& in_;
  const Planes& out_;
  bool in_rows_ = false;  // the output's rows are not the input's
  int64_t tiles_ = 0, lanes_ = 0, rows_ = 0, columns_ = 0, phases_ = 0, bytes_ = 0, working_bytes_ = 0;
};

}  // namespace niwaki
