#include <algorithm>
#include <cstring>

#include "kernels/conv/packed.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

DenseConv::DenseConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason)
    : PackedBase(params, weights, kernels, kernels.dense_outputs, "dense", std::move(reason)) {
  const int32_t width = kernels.dense_outputs;
  const int64_t count = div_up(params.out_channels, width);
  const int32_t ins = params.in_channels / params.groups, outs = params.out_channels / params.groups;
  int64_t bytes = 0;
  for (int64_t block = 0; block < count; ++block) {
    const int64_t first = block * width;
    const int64_t last = std::min<int64_t>(first + width, params.out_channels) - 1;
    Block range{};
    range.begin = static_cast<int32_t>(first / outs * ins / 4);
    range.end = static_cast<int32_t>(div_up((last / outs + 1) * ins, 4));
    range.offset = bytes;
    bytes += round_up(int64_t{range.end - range.begin} * taps() * width * kernels.lane_bytes, 64);
    blocks_.push_back(range);
  }
  weights_ = Buffer(static_cast<std::size_t>(bytes));
  for (int64_t block = 0; block < count; ++block) {
    uint8_t* to = weights_.data() + blocks_[static_cast<std::size_t>(block)].offset;
    const Block& range = blocks_[static_cast<std::size_t>(block)];
    for (int32_t group = range.begin; group < range.end; ++group) {
      for (int32_t tap = 0; tap < taps(); ++tap) {
        for (int64_t o = block * width; o < (block + 1) * width; ++o, to += kernels.lane_bytes) {
          int8_t four[4] = {0, 0, 0, 0};
          if (o < params.out_channels) four_weights(weights.weight, static_cast<int32_t>(o), group, tap, four);
          store_block(four, to);
        }
      }
    }
  }
}

bool DenseConv::direct(const Planes& in, const Planes& out) const {
  return kernels_.lane_bytes == 4 && kernels_.flip == 0 && TileSource(params_, in, out).direct();
}

int64_t DenseConv::scratch_bytes(const Planes& in, const Planes& out) const {
  const int64_t lanes = int64_t{kernels_.dense_vectors + kernels_.dense_tail} * kernels_.lanes;
  const int64_t panel = direct(in, out) ? 0 : int64_t{in_groups()} * taps() * lanes * kernels_.lane_bytes;
  return round_up(panel, 64) + TileSource::bytes(lanes) + lanes * kernels_.dense_outputs * 4;
}

void DenseConv::run(const Planes& in, const Planes& out, float* out_float, const Planes& residual, uint8_t* scratch,
                    ThreadPool& pool) const {
  const auto count = static_cast<int64_t>(blocks_.size());
  const ConvGrid grid =
      conv_grid(out.pixels(), kernels_.lanes, kernels_.dense_vectors, kernels_.dense_tail, count, pool.threads());
  // Of a panel: whole vectors, of which the last holds the single pixel.
  const int64_t lanes = int64_t{kernels_.dense_vectors + (grid.tails > 0 ? 1 : 0)} * kernels_.lanes;
  const int64_t row_bytes = lanes * kernels_.lane_bytes;
  const int64_t each = scratch_bytes(in, out);
  const bool in_place = direct(in, out);
  const TileSource source(params_, in, out);
  pool.run(grid.tasks, [&](int64_t task, int thread) {
    uint8_t* memory = scratch + thread * each;
    uint8_t* arrays = memory + (in_place ? 0 : round_up(int64_t{in_groups()} * taps() * row_bytes, 64));
    auto* floats = reinterpret_cast<float*>(arrays + TileSource::bytes(lanes));
    grid.for_each_tile(task, [&](int64_t tile, int64_t begin, int64_t end) {
      const int64_t first_pixel = grid.first_pixel(tile);
      DenseTile job{};
      job.vectors = grid.vectors_of(tile);
      job.tail = grid.tail_of(tile);
      job.row_bytes = in_place ? in.group_stride : row_bytes;
      const uint8_t* panel = in.data + first_pixel * 4;
      if (!in_place) {
        PanelFill fill{};
        fill.vectors = job.vectors + job.tail;
        source.locate(first_pixel, int64_t{fill.vectors} * kernels_.lanes, arrays, fill);
        const int32_t first_group = blocks_[static_cast<std::size_t>(begin)].begin;
        fill.in = in.group(first_group);
        fill.group_stride = in.group_stride;
        fill.groups = blocks_[static_cast<std::size_t>(end - 1)].end - first_group;
        fill.panel = memory + int64_t{first_group} * taps() * row_bytes;
        fill.row_bytes = row_bytes;
        fill.flip = static_cast<uint32_t>(kernels_.flip) * 0x01010101u;
        kernels_.fill(fill);
        panel = memory;
      }
      for (int64_t block = begin; block < end; ++block) {
        const Block& range = blocks_[static_cast<std::size_t>(block)];
        const int64_t o = block * kernels_.dense_outputs;
        job.panel = panel + int64_t{range.begin} * taps() * job.row_bytes;
        job.rows = int64_t{range.end - range.begin} * taps();
        job.out_groups = static_cast<int32_t>(div_up(std::min<int64_t>(kernels_.dense_outputs, params_.out_channels - o), 4));
        job.weights = weights_.data() + range.offset;
        job.bias = bias() + o;
        job.multiplier = multiplier() + o;
        job.output = output_at(out, residual, o / 4, first_pixel);
        if (out_float) {
          job.output.out_float = floats;
          job.output.float_stride = lanes;
        }
        kernels_.dense(job);
        if (out_float)
          store_float_tile(floats, lanes, out, o, kernels_.dense_outputs, first_pixel, job.vectors * kernels_.lanes + job.tail,
                           out_float);
      }
    });
  });
}

}  // namespace niwaki
