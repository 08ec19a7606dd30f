// How the dense kernel goes over tiles and blocks of outputs.
#include <algorithm>

#include "kernels/conv/packed.h"

namespace niwaki {

// One run. The inputs of a tile lie in a panel, in a band with those of its neighbours, or where they are. A grouped layer has a band for each
// block of outputs, which reads a few channels only: so small that it stays in the L1 cache, where it has just been written.
class DenseConv::Run {
 public:
  Run(const DenseConv& conv, const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float,
      const Planes& residual)
      : conv_(conv),
        kernels_(conv.kernels_),
        in_(in),
        out_(out),
        residual_(residual),
        out_float_(out_float),
        band_(conv.params_, padding, kernels_,
              grouped() ? std::span(&conv.block_taps_, 1) : std::span<const TapRectangle>(conv.rectangles_), conv.tile_vectors(),
              in, out),
        source_(conv.params_, padding, in, out),
        in_place_(conv.direct(in, out)) {}

  int64_t scratch_bytes() const {
    const int64_t lanes = most_lanes();
    return round_up(working_at() + band_.working_bytes() + TileSource::bytes(lanes) + lanes * kernels_.dense_outputs * 4, 64);
  }

  void run(uint8_t* scratch, ThreadPool& pool) {
    grid_ = conv_grid(out_.pixels(), kernels_.lanes, conv_.tile_vectors(), narrow() ? 0 : kernels_.dense_tail,
                      static_cast<int64_t>(conv_.blocks_.size()), pool.threads(), std::max<int64_t>(1, band_.tiles()));
    // Of a panel: whole vectors, of which the last holds the single pixel.
    lanes_ = int64_t{conv_.tile_vectors() + (grid_.tails > 0 ? 1 : 0)} * kernels_.lanes;
    // The rows lie alike in the bands of all threads: one list for all, in the first one's memory.
    offsets_ = band_.tiles() > 0 ? band_.offsets(scratch + working_at()) : nullptr;
    const int64_t each = scratch_bytes();
    pool.run(grid_.tasks, [&](int64_t task, int thread) { run_task(task, scratch + thread * each); });
  }

 private:
  bool grouped() const { return conv_.params_.groups > 1; }
  bool narrow() const { return conv_.narrow(); }
  int64_t most_lanes() const { return int64_t{conv_.tile_vectors() + kernels_.dense_tail} * kernels_.lanes; }
  int64_t band_at() const { return conv_.panel_bytes(in_, out_); }
  int64_t working_at() const { return band_at() + band_.bytes(); }
  // Past the pixels of a tile, with those that fill its last vector.
  int64_t end_pixel(int64_t tile) const {
    const TilePixels pixels = grid_.pixels_of(tile);
    return pixels.first + int64_t{pixels.vectors} * kernels_.lanes + pixels.tail;
  }

  // Neighbouring tiles whose inputs lie in one band, and their pixels: as many as a band holds, the task has, and one image has.
  struct Tiles {
    int64_t begin, end, lanes;
  };
  Tiles tiles_of_band(int64_t first, int64_t end) const {
    Tiles tiles{first, first, 0};
    if (!offsets_) return tiles;
    for (int64_t tile = first; tile < std::min(first + band_.tiles(), end); ++tile) {
      const int64_t lanes = end_pixel(tile) - grid_.first_pixel(first);
      if (!band_.same_image(grid_.first_pixel(first), lanes)) break;
      tiles.end = tile + 1;
      tiles.lanes = lanes;
    }
    return tiles;
  }

  void run_task(int64_t task, uint8_t* memory) const {
    uint8_t* const working = memory + working_at();
    DenseTile job{};
    job.output = conv_.output_of(out_, residual_);
    job.output.float_stride = lanes_;
    if (out_float_) {
      uint8_t* const arrays = working + band_.working_bytes();
      job.output.out_float = reinterpret_cast<float*>(arrays + TileSource::bytes(lanes_));
    }
    Tiles band{};
    grid_.for_each_tile(task, [&](int64_t tile, int64_t begin, int64_t end) {
      if (tile >= band.end) {
        const bool all = begin == 0 && end == grid_.blocks;  // else the next tile has other blocks
        band = tiles_of_band(tile, grouped() && !all ? tile + 1 : grid_.end_tile(task));
        if (band.end > tile && grouped()) run_blocks(job, band, begin, end, memory);
        else if (band.end > tile) band_.fill(grid_.first_pixel(tile), band.lanes, working, memory + band_at());
      }
      if (tile >= band.end) run_panel(job, tile, begin, end, memory);
      else if (!grouped())
        run_tile(job, grid_.pixels_of(tile), begin, end, memory + band_at() + band_offset(band, tile), offsets_);
    });
  }

  int64_t band_offset(const Tiles& band, int64_t tile) const {
    return (grid_.first_pixel(tile) - band_.begin_of(grid_.first_pixel(band.begin))) * 4;
  }

  // A grouped layer, one block after the other.
  void run_blocks(DenseTile& job, const Tiles& band, int64_t begin, int64_t end, uint8_t* memory) const {
    const BandFill all = band_.fill_of(conv_.block_taps_, grid_.first_pixel(band.begin), band.lanes, memory + working_at());
    for (int64_t block = begin; block < end; ++block) {
      const Block& range = conv_.blocks_[static_cast<std::size_t>(block)];
      BandFill own = all;
      own.in += range.begin * own.group_stride;
      own.groups = range.end - range.begin;
      own.band = memory + band_at();
      kernels_.fill_band(own);
      for (int64_t tile = band.begin; tile < band.end; ++tile)
        run_tile(job, grid_.pixels_of(tile), block, block + 1, own.band + band_offset(band, tile), offsets_);
    }
  }

  void run_panel(DenseTile& job, int64_t tile, int64_t begin, int64_t end, uint8_t* memory) const {
    const TilePixels pixels = grid_.pixels_of(tile);
    job.row_bytes = in_.group_stride;
    if (in_place_) return run_tile(job, pixels, begin, end, in_.data + pixels.first * 4, nullptr);
    PanelFill fill{};
    fill.vectors = pixels.vectors + pixels.tail;
    source_.locate(pixels.first, int64_t{fill.vectors} * kernels_.lanes, memory + working_at() + band_.working_bytes(), fill);
    fill.row_bytes = job.row_bytes = lanes_ * kRowBytes;
    conv_.fill_panel(in_, fill, conv_.blocks_[static_cast<std::size_t>(begin)].begin,
                     conv_.blocks_[static_cast<std::size_t>(end - 1)].end, memory);
    run_tile(job, pixels, begin, end, memory, nullptr);
  }

  // Blocks [begin, end) of a tile. `panel`: row 0 of its inputs, those of a block in a band of its own.
  void run_tile(DenseTile& job, const TilePixels& pixels, int64_t begin, int64_t end, const uint8_t* panel,
                const int32_t* offsets) const {
    job.vectors = pixels.vectors;
    job.tail = pixels.tail;
    job.offsets = offsets;
    const bool together = kernels_.dense_blocks != 0 && !grouped() && !out_float_;
    for (int64_t block = begin, next; block < end; block = next) {
      next = together ? end : block + 1;
      const Block& range = conv_.blocks_[static_cast<std::size_t>(block)];
      const int64_t o = block * conv_.width_;
      job.panel = panel + (offsets ? 0 : range.first_row * job.row_bytes);
      job.rows = range.rows;
      job.numbers = kernels_.pairs ? conv_.numbers_.as<uint16_t>() + range.number : nullptr;
      job.out_groups =
          static_cast<int32_t>(div_up(std::min<int64_t>((next - block) * conv_.width_, conv_.params_.out_channels - o), 4));
      job.block_bytes = range.bytes(conv_.width_);
      job.weights = conv_.weights_.data() + range.offset;
      job.bias = conv_.bias() + o;
      job.multiplier = conv_.multiplier() + o;
      conv_.place(job.output, out_, residual_, o / 4, pixels.first);
      (narrow() ? kernels_.dense_narrow : kernels_.dense)(job);
      if (out_float_)
        store_float_tile(job.output.out_float, lanes_, out_, conv_.float_plane(out_), o, conv_.width_, pixels.first,
                         job.vectors * kernels_.lanes + job.tail, out_float_);
    }
  }

  const DenseConv& conv_;
  const ConvKernels& kernels_;
  const Planes &in_, &out_, &residual_;
  float* const out_float_;
  const Band band_;
  const TileSource source_;
  const bool in_place_;
  ConvGrid grid_{};
  int64_t lanes_ = 0;                 // of a panel's row
  const int32_t* offsets_ = nullptr;  // of a band's rows
};

bool DenseConv::direct(const Planes& in, const Planes& out) const {
  return kernels_.flip == 0 && TileSource(params_, {}, in, out).direct();
}

int64_t DenseConv::panel_bytes(const Planes& in, const Planes& out) const {
  const int64_t lanes = int64_t{tile_vectors() + kernels_.dense_tail} * kernels_.lanes;
  return direct(in, out) ? 0 : round_up(rows_of(0, in_groups()) * lanes * kRowBytes, 64);
}

int64_t DenseConv::scratch_bytes(const Planes& in, const Planes& out) const {
  return Run(*this, in, {}, out, nullptr, {}).scratch_bytes();
}

void DenseConv::run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
                    uint8_t* scratch, ThreadPool& pool) const {
  Run(*this, in, padding, out, out_float, residual).run(scratch, pool);
}

}  // namespace niwaki
