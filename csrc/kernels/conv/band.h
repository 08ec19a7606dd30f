// The inputs of neighbouring tiles, without a copy for every tap.
//
// A band has a strip for each (group of channels, column of taps): all pixels that some row of taps reads for the tiles, moved by that
// column, with zero points where they lie outside of the image. A row of a panel is then a part of a strip; for the next row of taps it
// begins one row of the image later. So a 3 x 3 layer copies each pixel three times and a little instead of nine times. Loads straddle two
// cache lines: dense kernels have ports to spare for that, sparse kernels don't.
#pragma once

#include <cstdint>
#include <span>

#include "kernels/conv/conv.h"
#include "kernels/conv/kernel.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

class Band {
 public:
  // rectangles: as they lie in the panel, one after the other. All arguments are kept.
  Band(const ConvParams& params, const ConvPadding& padding, const ConvKernels& kernels, std::span<const TapRectangle> rectangles,
       const Planes& in, const Planes& out);

  // Tiles of a band; 0 where panels take less.
  int64_t tiles() const { return tiles_; }

  int64_t bytes() const { return bytes_; }                  // of a band
  int64_t working_bytes() const { return working_bytes_; }  // of what `begin` and `fill` need besides
  // Writes the offsets of all rows, in the order of the panel, for DenseTile: add 4 bytes for each pixel after the band's first.
  // `working`: working_bytes(), 64-byte aligned.
  const int32_t* offsets(uint8_t* working) const;

  // What fills the strips of a rectangle: all but where they lie, and for as many groups as the rectangle has. `working` as below.
  BandFill fill_of(const TapRectangle& taps, int64_t first_pixel, int64_t lanes, uint8_t* working) const;
  // Fills the band of `lanes` pixels from `first_pixel` on; of those that exist, all lie in one image (see `same_image`).
  void fill(int64_t first_pixel, int64_t lanes, uint8_t* working, uint8_t* band) const;
  bool same_image(int64_t first_pixel, int64_t lanes) const;

 private:
  int64_t rows_below(const TapRectangle& taps) const {  // pixels from the first to the last row of taps
    return int64_t{taps.height - 1} * params_.dilation_h * in_.width;
  }
  int64_t strip_vectors(const TapRectangle& taps, int64_t lanes) const;
  void set_masks(const TapRectangle& taps, int64_t first, int64_t image, int64_t vectors, uint16_t* masks) const;

  const ConvParams& params_;
  const ConvPadding padding_;
  const ConvKernels& kernels_;
  std::span<const TapRectangle> rectangles_;
  const Planes& in_;
  const Planes& out_;
  int64_t tiles_ = 0, lanes_ = 0, rows_ = 0, bytes_ = 0, working_bytes_ = 0;
};

}  // namespace niwaki
