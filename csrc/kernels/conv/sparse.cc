#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>

#include "kernels/conv/packed.h"
#include "kernels/conv/sparse_lists.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

namespace {

// The rows of a chunk should stay in the L1 cache (32 or 48 KiB on today's cores): every output of the tile reads a part of them.
int64_t chunk_bytes() {
  static const int64_t bytes = getenv("CHUNK") ? atoi(getenv("CHUNK")) * 1024 : 32 * 1024;
  return bytes;
}
// Outputs whose sums are kept between chunks; they should stay in the L2 cache: 96 KiB with AVX-512.
constexpr int64_t kPartialOutputs = 256;
static_assert(kPartialOutputs % kSparseBlock == 0);

}  // namespace

// Vectors of the largest tile: what the kernel can, but no more than the plane has, so that more rows fit a chunk.
int32_t SparseConv::tile_vectors(const ConvParams& params, const ConvKernels& kernels) {
  if (params.expected_pixels == 0) return kernels.sparse_vectors;
  return static_cast<int32_t>(std::min<int64_t>(kernels.sparse_vectors, div_up(params.expected_pixels, kernels.lanes)));
}

int32_t SparseConv::chunk_groups(const ConvParams& params, const ConvKernels& kernels) {
  const int64_t row = int64_t{tile_vectors(params, kernels)} * kernels.lanes * kernels.lane_bytes;
  const int64_t group = row * params.kernel_h * params.kernel_w;
  return static_cast<int32_t>(std::max<int64_t>(1, chunk_bytes() / group));
}

bool SparseConv::offsets_fit(const ConvParams& params, const ConvKernels& kernels) {
  const int64_t row = int64_t{tile_vectors(params, kernels)} * kernels.lanes * kernels.lane_bytes;
  return chunk_groups(params, kernels) * int64_t{params.kernel_h} * params.kernel_w * (row / 8) <= 65535;
}

SparseConv::SparseConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason)
    : PackedBase(params, weights, kernels, 4, "sparse", std::move(reason)),
      vectors_(tile_vectors(params, kernels)),
      chunk_groups_(chunk_groups(params, kernels)) {
  outputs_ = static_cast<int32_t>(round_up(params.out_channels, 4));
  order_ = Buffer(static_cast<std::size_t>(int64_t{chunks()} * outputs_));
  counts_ = Buffer(static_cast<std::size_t>(int64_t{chunks()} * sets()) * sizeof(uint16_t));
  SparseLists packed(kernels);
  std::vector<SparseLists::List> lists(kSparseBlock);
  for (int32_t chunk = 0; chunk < chunks(); ++chunk) {
    const int32_t begin = chunk * chunk_groups_, end = std::min(begin + chunk_groups_, in_groups());
    for (int32_t first = 0; first < outputs_; first += kSparseBlock) {
      const int32_t count = std::min(kSparseBlock, outputs_ - first);
      for (int32_t i = 0; i < count; ++i) {
        SparseLists::List& list = lists[static_cast<std::size_t>(i)];
        list.output = static_cast<uint8_t>(i);
        list.blocks.clear();
        for (int32_t group = begin; first + i < params.out_channels && group < end; ++group) {
          for (int32_t tap = 0; tap < taps(); ++tap) {
            SparseLists::Block block{};
            four_weights(weights.weight, first + i, group, tap, block.weights);
            if ((block.weights[0] | block.weights[1] | block.weights[2] | block.weights[3]) == 0) continue;
            block.offset = static_cast<uint16_t>((int64_t{group - begin} * taps() + tap) * row_bytes() / 8);
            list.blocks.push_back(block);
          }
        }
      }
      const std::span<SparseLists::List> used(lists.data(), static_cast<std::size_t>(count));
      if (chunk + 1 < chunks())
        std::stable_sort(used.begin(), used.end(), [](const auto& a, const auto& b) { return a.blocks.size() < b.blocks.size(); });
      starts_.push_back(static_cast<uint32_t>(packed.blocks()));
      const int64_t at = int64_t{chunk} * outputs_ + first;
      packed.append(used, order_.data() + at, counts_.as<uint16_t>() + at / kernels.sparse_lists);
    }
  }
  offsets_ = packed.offsets();
  values_ = packed.values();
}

int64_t SparseConv::bytes() const {
  return static_cast<int64_t>(order_.size() + counts_.size() + offsets_.size() + values_.size() +
                              starts_.size() * sizeof(uint32_t)) +
         constants_bytes();
}

int64_t SparseConv::scratch_bytes(const Planes&, const Planes&) const {
  const int64_t lanes = int64_t{kernels_.sparse_vectors} * kernels_.lanes;
  const int64_t panel = int64_t{std::min(chunk_groups_, in_groups())} * taps() * row_bytes();
  return round_up(panel, 64) + TileSource::bytes(lanes) + (kPartialOutputs + kSparseBlock) * lanes * 4;
}

void SparseConv::run(const Planes& in, const Planes& out, float* out_float, const Planes& residual, uint8_t* scratch,
                     ThreadPool& pool) const {
  const int64_t lanes = int64_t{kernels_.sparse_vectors} * kernels_.lanes;
  const ConvGrid grid = conv_grid(out.pixels(), kernels_.lanes, vectors_, 0, blocks(), pool.threads());
  const int64_t each = scratch_bytes(in, out);
  const int64_t panel_bytes = round_up(int64_t{std::min(chunk_groups_, in_groups())} * taps() * row_bytes(), 64);
  const TileSource source(params_, in, out);
  pool.run(grid.tasks, [&](int64_t task, int thread) {
    uint8_t* memory = scratch + thread * each;
    uint8_t* arrays = memory + panel_bytes;
    auto* partial = reinterpret_cast<int32_t*>(arrays + TileSource::bytes(lanes));
    auto* floats = reinterpret_cast<float*>(partial + kPartialOutputs * lanes);
    SparseTile job{};
    job.output = output_of(out, residual);
    job.output.float_stride = lanes;
    if (out_float) job.output.out_float = floats;
    grid.for_each_tile(task, [&](int64_t tile, int64_t part_begin, int64_t part_end) {
      const int64_t first_pixel = grid.first_pixel(tile);
      PanelFill fill{};
      fill.vectors = grid.vectors_of(tile);
      source.locate(first_pixel, int64_t{fill.vectors} * kernels_.lanes, arrays, fill);
      fill.group_stride = in.group_stride;
      fill.panel = memory;
      fill.row_bytes = row_bytes();
      fill.flip = static_cast<uint32_t>(kernels_.flip) * 0x01010101u;

      job.panel = memory;
      job.vectors = fill.vectors;
      // With one chunk sums stay in registers; with more, as many outputs go through all chunks as `partial` holds.
      const int64_t step = chunks() == 1 ? part_end - part_begin : kPartialOutputs / kSparseBlock;
      for (int64_t from = part_begin; from < part_end; from += step) {
        const int64_t to = std::min(from + step, part_end);
        for (int32_t chunk = 0; chunk < chunks(); ++chunk) {
          fill.in = in.group(int64_t{chunk} * chunk_groups_);
          fill.groups = std::min(chunk_groups_, in_groups() - chunk * chunk_groups_);
          kernels_.fill(fill);
          job.first = chunk == 0;
          job.last = chunk == chunks() - 1;
          for (int64_t block = from; block < to; ++block) {
            const int64_t o = block * kSparseBlock, at = int64_t{chunk} * outputs_ + o;
            const uint32_t start = starts_[static_cast<std::size_t>(chunk * int64_t{blocks()} + block)];
            job.outputs = static_cast<int32_t>(std::min<int64_t>(kSparseBlock, outputs_ - o));
            job.order = order_.data() + at;
            job.counts = counts_.as<uint16_t>() + at / kernels_.sparse_lists;
            const bool records = kernels_.sparse_lists > 1;
            job.offsets = records ? nullptr : offsets_.as<uint16_t>() + start;
            job.values = values_.data() + start * (kernels_.lane_bytes + (records ? int64_t{sizeof(uint16_t)} : 0));
            job.bias = bias() + o;
            job.multiplier = multiplier() + o;
            job.partial = partial + (chunks() == 1 ? 0 : (block - from) * kSparseBlock * lanes);
            place(job.output, out, residual, o / 4, first_pixel);
            kernels_.sparse(job);
            if (out_float && job.last)
              store_float_tile(floats, lanes, out, o, job.outputs, first_pixel, fill.vectors * kernels_.lanes, out_float);
          }
        }
      }
    });
  });
}

}  // namespace niwaki
