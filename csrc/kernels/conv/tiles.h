// How the output pixels of a convolution are cut into tiles, and where each tile's inputs lie.
#pragma once

#include <cstdint>

#include "base/memory.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/kernel.h"
#include "kernels/conv/taps.h"

namespace niwaki {

// Of `total`, what lies before part `index` of `parts`. 64-bit divisions take as long as some products of a tile, so 32 bits where they do.
inline int64_t share_before(int64_t total, int64_t index, int64_t parts) {
  if (total == parts) return index;
  const int64_t product = total * index;
  if (product >> 32 == 0 && parts >> 32 == 0) return static_cast<uint32_t>(product) / static_cast<uint32_t>(parts);
  return product / parts;
}

// A tile's pixels: whole vectors of them, and what comes after the last.
struct TilePixels {
  int64_t first;
  int32_t vectors, tail;
};

// Pixels that may follow the vectors of a tile: of every one, or of the last one only.
struct TileTails {
  int32_t each = 0, last = 0;
};

// How one run is cut. A tile is some vectors of consecutive pixels and, where kernels can, a single pixel after them: the 49 pixels of a
// 7 x 7 plane are three vectors of 16 and one pixel, not four vectors of which the last holds one. The units of a run are (tile, block of
// outputs), tile by tile; a task is a range of them. With many tiles a task is one tile. With few, every thread gets one equal range, so
// that at most one tile per thread is packed by two of them.
struct ConvGrid {
  int32_t lanes;
  int64_t vectors;  // of all output pixels
  int64_t tails;    // pixels after the vectors of as many tiles, or all of them after those of the last
  bool last_tail;
  int64_t tiles;
  int64_t blocks;
  int64_t tasks;
  bool whole_tiles;
  int64_t first_vector(int64_t tile) const { return share_before(vectors, tile, tiles); }
  int64_t first_tail(int64_t tile) const {
    if (tails == 0) return 0;
    return last_tail ? (tile == tiles ? tails : 0) : share_before(tails, tile, tiles);
  }
  int64_t first_pixel(int64_t tile) const { return first_vector(tile) * lanes + first_tail(tile); }
  TilePixels pixels_of(int64_t tile) const {
    const int64_t vector = first_vector(tile), tail = first_tail(tile);
    return {vector * lanes + tail, static_cast<int32_t>(first_vector(tile + 1) - vector),
            static_cast<int32_t>(first_tail(tile + 1) - tail)};
  }

  // Where a task begins, in units. Where there are tasks for whole tiles, they get whole tiles.
  int64_t first_unit(int64_t task) const {
    return whole_tiles ? share_before(tiles, task, tasks) * blocks : share_before(tiles * blocks, task, tasks);
  }
  int64_t end_tile(int64_t task) const {
    return whole_tiles ? share_before(tiles, task + 1, tasks) : div_up(first_unit(task + 1), blocks);
  }  // past the last one that a task touches
  // Past the last one of which a task has the last block: others have what is left of the next one.
  int64_t end_whole_tile(int64_t task) const {
    return whole_tiles ? share_before(tiles, task + 1, tasks) : first_unit(task + 1) / blocks;
  }

  // function(tile, first block, last block + 1) for the tiles that a task touches.
  template <typename Function>
  void for_each_tile(int64_t task, const Function& function) const {
    if (whole_tiles) {
      const int64_t last = share_before(tiles, task + 1, tasks);
      for (int64_t tile = share_before(tiles, task, tasks); tile < last; ++tile) function(tile, 0, blocks);
      return;
    }
    const int64_t end = first_unit(task + 1);
    for (int64_t unit = first_unit(task); unit < end;) {
      const int64_t tile = unit / blocks, stop = (tile + 1) * blocks < end ? (tile + 1) * blocks : end;
      function(tile, unit - tile * blocks, stop - tile * blocks);
      unit = stop;
    }
  }
};

// task_tiles: neighbouring tiles that go well together, where there are many.
ConvGrid conv_grid(int64_t pixels, int32_t lanes, int32_t max_vectors, const TileTails& tails, int64_t blocks, int threads,
                   int64_t task_tiles = 1);

// Where the inputs of a tile's pixels lie; fills the arrays that PanelFill reads.
class TileSource {
 public:
  // Throws Error for planes whose pixels 30 bits can't number.
  TileSource(const ConvParams& params, const ConvPadding& padding, const Planes& in, const Planes& out);

  bool direct() const { return direct_; }
  bool shifted() const { return shifted_; }

  // Bytes of the arrays for tiles of up to `lanes` pixels.
  static int64_t bytes(int64_t lanes) { return 3 * lanes * static_cast<int64_t>(sizeof(int32_t)); }

  // Sets all of `fill` that does not depend on the channels, for the tile of `lanes` pixels (past the last one, too) that begins at
  // `first_pixel`. `memory`: bytes(lanes) bytes, 64-byte aligned.
  void locate(int64_t first_pixel, int64_t lanes, uint8_t* memory, PanelFill& fill) const;

 private:
  const ConvParams& params_;
  const ConvPadding padding_;
  const Planes& in_;
  const Planes& out_;
  bool shifted_, direct_;
};

}  // namespace niwaki
