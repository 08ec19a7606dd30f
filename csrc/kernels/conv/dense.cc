#include <algorithm>
#include <cstring>

#include "kernels/conv/packed.h"
#include "kernels/conv/row_pairs.h"
#include "kernels/conv/rows.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

DenseConv::DenseConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason)
    : PackedBase(params, weights, kernels, kernels.dense_outputs, "dense", std::move(reason)) {
  const int32_t width = kernels.dense_outputs;
  const int64_t count = div_up(params.out_channels, width);
  find_taps(weights.weight);
  const int32_t ins = params.in_channels / params.groups, outs = params.out_channels / params.groups;
  int64_t bytes = 0;
  for (int64_t block = 0; block < count; ++block) {
    const int64_t first = block * width;
    const int64_t last = std::min<int64_t>(first + width, params.out_channels) - 1;
    Block range{};
    range.begin = static_cast<int32_t>(first / outs * ins / 4);
    range.end = static_cast<int32_t>(div_up((last / outs + 1) * ins, 4));
    range.first_row = rows_of(0, range.begin);
    range.rows = range.panel_rows = rows_of(range.begin, range.end);
    range.offset = bytes;
    bytes += round_up(range.rows * width * kRowBytes, 64);
    blocks_.push_back(range);
  }
  WeightRows source(params, weights.weight);
  if (kernels.pairs) {
    pack_pairs(source);
    return;
  }
  weights_ = SharedBuffer(static_cast<std::size_t>(bytes));
  std::memset(weights_.data(), 0, weights_.size());
  for (std::size_t block = 0; block < blocks_.size(); ++block) store_rows(source, block, weights_.data() + blocks_[block].offset);
}

void DenseConv::store_rows(WeightRows& source, std::size_t index, uint8_t* to) const {
  const Block& range = blocks_[index];
  const int32_t width = kernels_.dense_outputs, first = static_cast<int32_t>(index) * width;
  for (int32_t o = first; o < std::min(first + width, params_.out_channels); ++o) {
    const int8_t* from = source.of(o, range.begin, range.end);
    uint8_t* row = to + (o - first) * kRowBytes;
    for_each_row(range.begin, range.end, [&](int32_t group, int32_t tap) {
      std::memcpy(row, from + (int64_t{group - range.begin} * taps() + tap) * kRowBytes, kRowBytes);
      row += width * kRowBytes;
    });
  }
}

void DenseConv::pack_pairs(WeightRows& source) {
  const std::size_t row_bytes = static_cast<std::size_t>(kernels_.dense_outputs * kRowBytes);
  std::vector<uint8_t> rows, packed;
  std::vector<uint16_t> numbers;
  RowPairs<4> pairs;  // as many outputs as kernels of pairs have in a block
  for (std::size_t index = 0; index < blocks_.size(); ++index) {
    Block& range = blocks_[index];
    // One at least, so that they are not null.
    rows.assign(static_cast<std::size_t>(std::max<int64_t>(1, range.panel_rows)) * row_bytes, 0);
    store_rows(source, index, rows.data());
    pairs.clear();
    for (int64_t row = 0; row < range.panel_rows; ++row)
      pairs.add(static_cast<uint16_t>(row),
                reinterpret_cast<const int8_t*>(rows.data() + static_cast<std::size_t>(row) * row_bytes));
    pairs.finish();
    range.rows = static_cast<int64_t>(pairs.names().size());
    range.offset = static_cast<int64_t>(packed.size());
    range.number = static_cast<int64_t>(numbers.size());
    packed.insert(packed.end(), pairs.weights().begin(), pairs.weights().end());
    numbers.insert(numbers.end(), pairs.names().begin(), pairs.names().end());
  }
  weights_ = SharedBuffer(copy_of(packed));
  numbers_ = SharedBuffer(copy_of(numbers));
}

void DenseConv::find_taps(const int8_t* weight) {
  const int32_t height = params_.kernel_h, width = params_.kernel_w;
  if (params_.groups > 1 || taps() == 1) {  // outputs have groups of their own, or the input itself is the panel
    rectangles_.push_back({0, in_groups(), 0, 0, height, width});
    return;
  }
  struct Bounds {
    int32_t top, bottom, left, right;
  };
  std::vector<Bounds> bounds(static_cast<std::size_t>(in_groups()), {height, 0, width, 0});
  const auto whole = [&](const Bounds& of) { return of.top == 0 && of.left == 0 && of.bottom == height && of.right == width; };
  WeightRows source(params_, weight);
  for (int32_t o = 0; o < params_.out_channels && !std::all_of(bounds.begin(), bounds.end(), whole); ++o) {
    const int8_t* rows = source.of(o, 0, in_groups());
    for (std::size_t group = 0; group < bounds.size(); ++group, rows += taps() * kRowBytes) {
      Bounds& of = bounds[group];
      for (int32_t tap = 0; tap < taps() && !whole(of); ++tap) {
        if (weights_of_row(rows, tap) == 0) continue;
        of.top = std::min(of.top, tap / width);
        of.bottom = std::max(of.bottom, tap / width + 1);
        of.left = std::min(of.left, tap % width);
        of.right = std::max(of.right, tap % width + 1);
      }
    }
  }
  for (int32_t group = 0; group < in_groups(); ++group) {
    const Bounds& of = bounds[static_cast<std::size_t>(group)];
    if (of.bottom == 0) continue;  // no weights
    TapRectangle* before = rectangles_.empty() ? nullptr : &rectangles_.back();
    const TapRectangle now{group, group + 1, of.top, of.left, of.bottom - of.top, of.right - of.left};
    if (before != nullptr && before->end == group && before->top == now.top && before->left == now.left &&
        before->height == now.height && before->width == now.width)
      before->end = group + 1;
    else rectangles_.push_back(now);
  }
}

template <typename Function>
void DenseConv::for_each_row(int32_t begin, int32_t end, const Function& function) const {
  for (const TapRectangle& taps : rectangles_)
    for (int32_t group = std::max(begin, taps.begin); group < std::min(end, taps.end); ++group)
      for (int32_t y = taps.top; y < taps.top + taps.height; ++y)
        for (int32_t x = taps.left; x < taps.left + taps.width; ++x) function(group, y * params_.kernel_w + x);
}

int64_t DenseConv::rows_of(int32_t begin, int32_t end) const {
  int64_t rows = 0;
  for (const TapRectangle& taps : rectangles_)
    rows += int64_t{std::max(0, std::min(end, taps.end) - std::max(begin, taps.begin))} * taps.height * taps.width;
  return rows;
}

// The rows of groups [begin, end) of a tile that `fill` has the pixels of. `panel`: of the tile, the row of group 0 first.
void DenseConv::fill_panel(const Planes& in, PanelFill fill, int32_t begin, int32_t end, uint8_t* panel) const {
  const int64_t first_lane = fill.first_lane;
  const int32_t lanes = fill.vectors * kernels_.lanes;
  int32_t top = 0, left = 0;
  fill.group_stride = in.group_stride;
  fill.flip = static_cast<uint32_t>(kernels_.flip) * 0x01010101u;
  for (const TapRectangle& taps : rectangles_) {
    const int32_t first = std::max(begin, taps.begin);
    fill.groups = std::min(end, taps.end) - first;
    if (fill.groups <= 0) continue;
    // Every pixel's window, moved to this rectangle.
    const int32_t down = (taps.top - top) * params_.dilation_h, right = (taps.left - left) * params_.dilation_w;
    for (int32_t p = 0; p < lanes && (down != 0 || right != 0); ++p) {
      fill.top[p] += down;
      fill.left[p] += right;
    }
    top = taps.top;
    left = taps.left;
    fill.first_lane = first_lane + int64_t{top} * params_.dilation_h * in.width + int64_t{left} * params_.dilation_w;
    fill.kernel_h = taps.height;
    fill.kernel_w = taps.width;
    fill.in = in.group(first);
    fill.panel = panel + rows_of(0, first) * fill.row_bytes;
    kernels_.fill(fill);
  }
}

bool DenseConv::direct(const Planes& in, const Planes& out) const {
  return kernels_.flip == 0 && TileSource(params_, {}, in, out).direct();
}

int64_t DenseConv::scratch_bytes(const Planes& in, const Planes& out) const {
  const int64_t lanes = int64_t{kernels_.dense_vectors + kernels_.dense_tail} * kernels_.lanes;
  const Band band = this->band(in, {}, out);
  return round_up(
      panel_bytes(in, out) + band.bytes() + band.working_bytes() + TileSource::bytes(lanes) + lanes * kernels_.dense_outputs * 4,
      64);
}

int64_t DenseConv::panel_bytes(const Planes& in, const Planes& out) const {
  const int64_t lanes = int64_t{kernels_.dense_vectors + kernels_.dense_tail} * kernels_.lanes;
  return direct(in, out) ? 0 : round_up(rows_of(0, in_groups()) * lanes * kRowBytes, 64);
}

void DenseConv::run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
                    uint8_t* scratch, ThreadPool& pool) const {
  const auto count = static_cast<int64_t>(blocks_.size());
  const Band band = this->band(in, padding, out);
  const ConvGrid grid = conv_grid(out.pixels(), kernels_.lanes, kernels_.dense_vectors, kernels_.dense_tail, count,
                                  pool.threads(), std::max<int64_t>(1, band.tiles()));
  // Of a panel: whole vectors, of which the last holds the single pixel.
  const int64_t lanes = int64_t{kernels_.dense_vectors + (grid.tails > 0 ? 1 : 0)} * kernels_.lanes;
  const int64_t row_bytes = lanes * kRowBytes;
  const int64_t each = scratch_bytes(in, out);
  const bool in_place = direct(in, out);
  const TileSource source(params_, padding, in, out);
  const auto end_pixel = [&](int64_t tile) {  // past the pixels of a tile, with those that fill its last vector
    return grid.first_pixel(tile) + int64_t{grid.vectors_of(tile)} * kernels_.lanes + grid.tail_of(tile);
  };
  const int64_t band_at = panel_bytes(in, out), working_at = band_at + band.bytes();
  // The rows lie alike in the bands of all threads: one list for all, in the first one's memory.
  const int32_t* offsets = band.tiles() > 0 ? band.offsets(scratch + working_at) : nullptr;
  pool.run(grid.tasks, [&](int64_t task, int thread) {
    uint8_t* memory = scratch + thread * each;
    uint8_t* band_memory = memory + band_at;
    uint8_t* working = memory + working_at;
    uint8_t* arrays = working + band.working_bytes();
    auto* floats = reinterpret_cast<float*>(arrays + TileSource::bytes(lanes));
    int64_t band_begin = 0, band_end = 0;  // tiles whose inputs lie in the band
    DenseTile job{};
    job.output = output_of(out, residual);
    job.output.float_stride = lanes;
    if (out_float) job.output.out_float = floats;
    grid.for_each_tile(task, [&](int64_t tile, int64_t begin, int64_t end) {
      const int64_t first_pixel = grid.first_pixel(tile);
      job.vectors = grid.vectors_of(tile);
      job.tail = grid.tail_of(tile);
      const uint8_t* panel = in.data + first_pixel * 4;
      job.row_bytes = in.group_stride;
      job.offsets = nullptr;
      if (offsets && tile >= band_end) {  // as many tiles as a band holds, this task has, and one image has
        band_begin = band_end = tile;
        int64_t band_lanes = 0;
        for (int64_t next = tile; next < std::min(tile + band.tiles(), grid.end_tile(task)); ++next) {
          const int64_t more = end_pixel(next) - first_pixel;
          if (!band.same_image(first_pixel, more)) break;
          band_end = next + 1;
          band_lanes = more;
        }
        if (band_end > tile) band.fill(first_pixel, band_lanes, working, band_memory);
      }
      if (tile < band_end) {
        panel = band_memory + (first_pixel - grid.first_pixel(band_begin)) * 4;
        job.offsets = offsets;
      } else if (!in_place) {
        PanelFill fill{};
        fill.vectors = job.vectors + job.tail;
        source.locate(first_pixel, int64_t{fill.vectors} * kernels_.lanes, arrays, fill);
        fill.row_bytes = job.row_bytes = row_bytes;
        fill_panel(in, fill, blocks_[static_cast<std::size_t>(begin)].begin, blocks_[static_cast<std::size_t>(end - 1)].end,
                   memory);
        panel = memory;
      }
      for (int64_t block = begin; block < end; ++block) {
        const Block& range = blocks_[static_cast<std::size_t>(block)];
        const int64_t o = block * kernels_.dense_outputs;
        job.panel = panel + (job.offsets ? 0 : range.first_row * job.row_bytes);
        job.rows = range.rows;
        job.numbers = kernels_.pairs ? numbers_.as<uint16_t>() + range.number : nullptr;
        job.out_groups = static_cast<int32_t>(div_up(std::min<int64_t>(kernels_.dense_outputs, params_.out_channels - o), 4));
        job.weights = weights_.data() + range.offset;
        job.bias = bias() + o;
        job.multiplier = multiplier() + o;
        place(job.output, out, residual, o / 4, first_pixel);
        kernels_.dense(job);
        if (out_float)
          store_float_tile(floats, lanes, out, float_plane(out), o, kernels_.dense_outputs, first_pixel,
                           job.vectors * kernels_.lanes + job.tail, out_float);
      }
    });
  });
}

}  // namespace niwaki
