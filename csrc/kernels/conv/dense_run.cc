// How the dense kernel goes over tiles and blocks of outputs.
#include <algorithm>
#include <iterator>

#include "kernels/conv/packed.h"

namespace niwaki {

// Beside what is written, in an L1 cache of 32 KiB or more.
static constexpr int64_t kMostPanelBytes = 16 * 1024;

// One run. The inputs of a tile lie in a panel, in a band with those of its neighbours, or where they are. A grouped layer has a band for each
// block of outputs, which reads a few channels only: so small that it stays in the L1 cache, where it has just been written.
class DenseConv::Run {
 public:
  Run(const DenseConv& conv, const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float,
      const Planes& residual, const AfterFrom& after)
      : conv_(conv),
        kernels_(conv.kernels_),
        in_(in),
        out_(out),
        residual_(residual),
        after_(after),
        out_float_(out_float),
        band_(conv.params_, padding, kernels_,
              grouped() ? std::span(&conv.block_taps_, 1) : std::span<const TapRectangle>(conv.rectangles_), conv.tile_vectors(),
              in, out),
        source_(conv.params_, padding, in, out),
        in_place_(conv.direct(in, out)) {}

  int64_t scratch_bytes() const { return round_up(offsets_at() + (narrow() ? conv_.most_rows_ * 4 : 0), 64); }

  void run(uint8_t* scratch, ThreadPool& pool) {
    grid_ = conv_grid(out_.pixels(), kernels_.lanes, conv_.tile_vectors(),
                      narrow() ? TileTails{.last = kNarrowTail} : TileTails{.each = kernels_.dense_tail},
                      static_cast<int64_t>(conv_.blocks_.size()), pool.threads(), std::max<int64_t>(1, band_.tiles()));
    // Of a panel: whole vectors, of which the last holds the single pixel.
    lanes_ = int64_t{conv_.tile_vectors() + (grid_.tails > 0 ? 1 : 0)} * kernels_.lanes;
    // The rows lie alike in the bands of all threads: one list for all, in the first one's memory.
    offsets_ = band_.tiles() > 0 ? band_.offsets(scratch + working_at()) : nullptr;
    if (narrow()) panel_offsets_ = offsets_of_panel(scratch + offsets_at());
    const int64_t each = scratch_bytes();
    pool.run(grid_.tasks, [&](int64_t task, int thread) { run_task(task, scratch + thread * each); });
  }

 private:
  bool grouped() const { return conv_.params_.groups > 1; }
  bool narrow() const { return conv_.narrow(); }
  const Block& block_at(int64_t index) const { return conv_.blocks_[static_cast<std::size_t>(index)]; }
  int64_t most_lanes() const { return int64_t{conv_.tile_vectors() + kernels_.dense_tail} * kernels_.lanes; }
  int64_t band_at() const { return conv_.panel_bytes(in_, out_); }
  int64_t working_at() const { return band_at() + band_.bytes(); }
  int64_t arrays_at() const { return working_at() + band_.working_bytes(); }
  int64_t floats_at() const { return arrays_at() + TileSource::bytes(most_lanes()); }
  int64_t offsets_at() const { return floats_at() + most_lanes() * kernels_.dense_outputs * 4; }
  int64_t row_bytes() const { return in_place_ ? in_.group_stride : lanes_ * kRowBytes; }
  // Where the rows of a panel begin, for kernels that are always told so.
  const int32_t* offsets_of_panel(uint8_t* memory) const {
    auto* const offsets = reinterpret_cast<int32_t*>(memory);
    for (int64_t row = 0; row < conv_.most_rows_; ++row) offsets[row] = static_cast<int32_t>(row * row_bytes());
    return offsets;
  }
  // Tiles of a grouped layer that follow each other and are alike, which its kernel takes at once.
  struct Alike {
    TilePixels pixels;  // of the first, or, of narrow kernels, of all as if they were one
    int32_t tiles;
    bool add(const TilePixels& next, bool narrow) {
      if (!narrow && (next.vectors != pixels.vectors || next.tail != pixels.tail)) return false;
      if (narrow) pixels.vectors += next.vectors, pixels.tail = next.tail;
      else ++tiles;
      return true;
    }
  };
  // Neighbouring tiles whose inputs lie in one band, and their pixels with those that fill the last vector: as many as a band holds, the task
  // has, and one image has.
  struct Tiles {
    int64_t begin, end, lanes;
    int32_t count;
    Alike alike[16];
  };
  Tiles tiles_of_band(int64_t first, int64_t end) const {
    Tiles tiles{};
    tiles.begin = tiles.end = first;
    if (!offsets_) return tiles;
    const int64_t first_pixel = grid_.first_pixel(first);
    for (end = std::min(first + band_.tiles(), end); tiles.end < end; ++tiles.end) {
      const TilePixels pixels = grid_.pixels_of(tiles.end);
      const int64_t lanes = pixels.first + int64_t{pixels.vectors} * kernels_.lanes + pixels.tail - first_pixel;
      if (!band_.same_image(first_pixel, lanes)) break;
      // A float32 result goes from each tile to where it belongs.
      const bool added = tiles.count > 0 && !out_float_ && tiles.alike[tiles.count - 1].add(pixels, narrow());
      if (grouped() && !added) {
        if (tiles.count == static_cast<int32_t>(std::size(tiles.alike))) break;
        tiles.alike[tiles.count++] = {pixels, 1};
      }
      tiles.lanes = lanes;
    }
    return tiles;
  }

  void run_task(int64_t task, uint8_t* memory) const {
    DenseTile job{};
    job.tiles = 1;
    job.row_bytes = row_bytes();
    job.output = conv_.output_of(out_, residual_);
    job.output.float_stride = lanes_;
    if (out_float_) job.output.out_float = reinterpret_cast<float*>(memory + floats_at());
    Tiles band{};
    grid_.for_each_tile(task, [&](int64_t tile, int64_t begin, int64_t end) {
      if (!offsets_) return run_panel(job, tile, begin, end, memory);
      if (tile >= band.end) {
        // A grouped layer does all tiles of a band for a block: of tiles whose blocks are not all the task's, one at a time.
        const bool all = begin == 0 && end == grid_.blocks;
        band = tiles_of_band(tile, !grouped() ? grid_.end_tile(task) : all ? grid_.end_whole_tile(task) : tile + 1);
        if (band.end > tile && grouped()) run_blocks(job, band, begin, end, memory);
        else if (band.end > tile) band_.fill(grid_.first_pixel(tile), band.lanes, memory + working_at(), memory + band_at());
      }
      if (tile >= band.end) run_panel(job, tile, begin, end, memory);
      else if (!grouped())
        run_tile(job, grid_.pixels_of(tile), begin, end, memory + band_at() + band_offset(band, grid_.first_pixel(tile)),
                 offsets_);
    });
  }

  int64_t band_offset(const Tiles& band, int64_t pixel) const {
    return (pixel - band_.begin_of(grid_.first_pixel(band.begin))) * 4;
  }

  // A grouped layer, one block after the other. Those of one group read the same band.
  void run_blocks(DenseTile& job, const Tiles& band, int64_t begin, int64_t end, uint8_t* memory) const {
    const BandFill all = band_.fill_of(conv_.block_taps_, grid_.first_pixel(band.begin), band.lanes, memory + working_at());
    BandFill own = all;
    own.band = memory + band_at();
    for (int64_t first = begin, last; first < end; first = last) {
      const Block& range = block_at(first);
      last = end_alike(first, end);
      own.in = all.in + range.begin * own.group_stride;
      own.groups = range.end - range.begin;
      kernels_.fill_band(own);
      for (int32_t i = 0; i < band.count; ++i) run_alike(job, band, band.alike[i], first, last, own.band);
    }
  }

  // Blocks that read the same band: tile by tile, or, where there are more tiles than blocks, block by block.
  void run_alike(DenseTile& job, const Tiles& band, const Alike& alike, int64_t begin, int64_t end, const uint8_t* inputs) const {
    TilePixels pixels = alike.pixels;
    const bool by_block = kernels_.dense_blocks != 0 && alike.tiles > end - begin;
    const uint8_t* panel = inputs + band_offset(band, pixels.first);
    const int64_t next = int64_t{pixels.vectors} * kernels_.lanes + pixels.tail;
    job.tiles = by_block ? alike.tiles : 1;
    for (int64_t block = begin; by_block && block < end; ++block) run_tile(job, pixels, block, block + 1, panel, offsets_);
    for (int32_t tile = 0; !by_block && tile < alike.tiles; ++tile, pixels.first += next, panel += next * 4)
      run_tile(job, pixels, begin, end, panel, offsets_);
    job.tiles = 1;
  }

  // Past the blocks from `first` on that read the same channels.
  int64_t end_alike(int64_t first, int64_t end) const {
    if (!grouped()) return end;
    int64_t last = first + 1;
    while (last < end && block_at(last).begin == block_at(first).begin && block_at(last).end == block_at(first).end) ++last;
    return last;
  }

  // A tile whose inputs lie where they are, or in panels: of a grouped layer each for so many blocks that it stays in the L1 cache.
  void run_panel(DenseTile& job, int64_t tile, int64_t begin, int64_t end, uint8_t* memory) const {
    const TilePixels pixels = grid_.pixels_of(tile);
    if (in_place_) return run_tile(job, pixels, begin, end, in_.group(block_at(begin).begin) + pixels.first * 4, panel_offsets_);
    PanelFill fill{};
    fill.vectors = pixels.vectors + (pixels.tail > 0);
    source_.locate(pixels.first, int64_t{fill.vectors} * kernels_.lanes, memory + arrays_at(), fill);
    fill.row_bytes = job.row_bytes;
    for (int64_t first = begin, last; first < end; first = last) {
      last = grouped() ? first + 1 : end;
      while (last < end && fits(first, last + 1)) ++last;
      conv_.fill_panel(in_, fill, block_at(first).begin, block_at(last - 1).end, memory);
      run_tile(job, pixels, first, last, memory, panel_offsets_);
    }
  }

  // Whether one panel will do for blocks [first, last): those of one group have the same.
  bool fits(int64_t first, int64_t last) const {
    const int64_t rows = conv_.panel_rows(first, last);
    return rows == conv_.panel_rows(first, first + 1) || rows * row_bytes() <= kMostPanelBytes;
  }

  // Blocks [begin, end) of a tile. `panel`: the first row of the first one.
  void run_tile(DenseTile& job, const TilePixels& pixels, int64_t begin, int64_t end, const uint8_t* panel,
                const int32_t* offsets) const {
    job.vectors = pixels.vectors;
    job.tail = pixels.tail;
    job.offsets = offsets;
    float* const floats = job.output.out_float;  // of this thread's scratch
    const bool together = kernels_.dense_blocks != 0 && !narrow() && !out_float_;
    for (int64_t block = begin, next; block < end; block = next) {
      next = together ? end_alike(block, end) : block + 1;
      const Block& range = block_at(block);
      const int64_t o = block * conv_.width_;
      job.panel = panel + (range.first_row - block_at(begin).first_row) * job.row_bytes;
      job.rows = range.rows;
      job.numbers = kernels_.pairs ? conv_.numbers_.as<uint16_t>() + range.number : nullptr;
      job.out_groups =
          static_cast<int32_t>(div_up(std::min<int64_t>((next - block) * conv_.width_, conv_.params_.out_channels - o), 4));
      job.block_bytes = range.bytes(conv_.width_);
      job.weights = conv_.weights_.data() + range.offset;
      job.bias = conv_.bias() + o;
      job.multiplier = conv_.multiplier() + o;
      conv_.place(job.output, out_, residual_, o / 4, pixels.first);
      const bool floats_in_place =
          out_float_ && place_floats(job.output, o, pixels.first, job.vectors * kernels_.lanes + job.tail);
      (narrow() ? kernels_.dense_narrow : kernels_.dense)(job);
      if (floats_in_place) job.output.out_float = floats, job.output.float_stride = lanes_;
      else if (out_float_)
        store_float_tile(job.output.out_float, lanes_, out_, conv_.float_plane(out_), o, conv_.width_, pixels.first,
                         job.vectors * kernels_.lanes + job.tail, out_float_);
      after_(out_, o, (next - block) * conv_.width_, pixels.first,
             int64_t{job.tiles} * (job.vectors * kernels_.lanes + job.tail));
    }
  }

  // Has the kernel write a block of floats where they belong: where all its outputs exist, and all its pixels are those of one image.
  bool place_floats(ConvOutput& output, int64_t o, int64_t first, int64_t pixels) const {
    const int64_t plane = conv_.float_plane(out_), image = first / plane, channels = conv_.params_.out_channels;
    if (o + conv_.width_ > channels || image != (first + pixels - 1) / plane || first + pixels > out_.pixels()) return false;
    output.out_float = out_float_ + (image * channels + o) * plane + first % plane;
    output.float_stride = plane;
    return true;
  }

  const DenseConv& conv_;
  const ConvKernels& kernels_;
  const Planes &in_, &out_, &residual_;
  const AfterFrom after_;
  float* const out_float_;
  const Band band_;
  const TileSource source_;
  const bool in_place_;
  ConvGrid grid_{};
  int64_t lanes_ = 0;                 // of a panel's row
  const int32_t* offsets_ = nullptr;  // of a band's rows
  const int32_t* panel_offsets_ = nullptr;
};

bool DenseConv::direct(const Planes& in, const Planes& out) const {
  // Where rows begin in a plane is told to narrow kernels in 32 bits.
  const bool reached = !narrow() || in_groups() * in.group_stride < int64_t{1} << 31;
  return kernels_.flip == 0 && reached && TileSource(params_, {}, in, out).direct();
}

int64_t DenseConv::panel_bytes(const Planes& in, const Planes& out) const {
  const int64_t row_bytes = int64_t{tile_vectors() + kernels_.dense_tail} * kernels_.lanes * kRowBytes;
  int64_t rows = kMostPanelBytes / row_bytes;
  for (std::size_t block = 0; block < blocks_.size(); ++block) rows = std::max(rows, blocks_[block].panel_rows);
  return direct(in, out) ? 0 : round_up(std::min(rows, rows_of(0, in_groups())) * row_bytes, 64);
}

int64_t DenseConv::scratch_bytes(const Planes& in, const Planes& out) const {
  return Run(*this, in, {}, out, nullptr, {}, {}).scratch_bytes();
}

void DenseConv::run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
                    const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const {
  Run(*this, in, padding, out, out_float, residual, after).run(scratch, pool);
}

}  // namespace niwaki
