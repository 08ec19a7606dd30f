#include <algorithm>
#include <cstring>
#include <span>

#include "kernels/conv/packed.h"
#include "kernels/conv/rows.h"
#include "kernels/conv/sparse_lists.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

namespace {

// Outputs whose sums are kept between chunks; they should stay in the L2 cache: 96 KiB with AVX-512.
constexpr int64_t kPartialOutputs = 256;
static_assert(kPartialOutputs % kSparseBlock == 0);

// Panels of all chunks that are kept while one part of the outputs after the other goes through them; they should stay in the L2 cache.
constexpr int64_t kKeptPanels = 384 * 1024;

}  // namespace

SparseConv::SparseConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason)
    : PackedBase(params, weights, kernels, 4, "sparse", std::move(reason)), cut_(params, kernels) {
  order_ = SharedBuffer(static_cast<std::size_t>(int64_t{cut_.chunks} * cut_.outputs));
  counts_ = SharedBuffer(static_cast<std::size_t>(int64_t{cut_.chunks} * cut_.outputs / kernels.sparse_lists) * sizeof(uint16_t));
  SparseLists packed(kernels);
  std::vector<SparseLists::List> lists(kSparseBlock);
  for (SparseLists::List& list : lists) list.blocks.resize(static_cast<std::size_t>(int64_t{cut_.chunk_groups} * taps()));
  WeightRows source(params, weights.weight);
  for (int32_t chunk = 0; chunk < cut_.chunks; ++chunk) {
    for (int32_t first = 0; first < cut_.outputs; first += kSparseBlock) {
      const std::span<SparseLists::List> used(lists.data(),
                                              static_cast<std::size_t>(std::min(kSparseBlock, cut_.outputs - first)));
      for (std::size_t i = 0; i < used.size(); ++i) {
        const int32_t o = first + static_cast<int32_t>(i);
        used[i].output = static_cast<uint8_t>(i);
        used[i].count = 0;
        if (o >= params.out_channels) continue;
        const int64_t rows = int64_t{cut_.end(chunk) - cut_.begin(chunk)} * taps();
        used[i].take(source.of(o, cut_.begin(chunk), cut_.end(chunk)), rows, cut_.row_bytes / 8);
      }
      if (chunk + 1 < cut_.chunks)
        std::stable_sort(used.begin(), used.end(), [](const auto& a, const auto& b) { return a.count < b.count; });
      starts_.push_back(static_cast<uint32_t>(packed.blocks()));
      const int64_t at = int64_t{chunk} * cut_.outputs + first;
      packed.append(used, order_.data() + at, counts_.as<uint16_t>() + at / kernels.sparse_lists);
    }
  }
  offsets_ = SharedBuffer(packed.offsets());
  values_ = SharedBuffer(packed.values());
}

int64_t SparseConv::bytes() const {
  return static_cast<int64_t>(order_.size() + counts_.size() + offsets_.size() + values_.size() +
                              starts_.size() * sizeof(uint32_t)) +
         constants_bytes();
}

int64_t SparseConv::panel_bytes() const {
  return round_up(int64_t{std::min(cut_.chunk_groups, in_groups())} * taps() * cut_.row_bytes, 64);
}

// With one chunk, or few outputs, a panel is filled once anyway, and one that takes the place of the one before stays in the L1 cache.
bool SparseConv::keeps_panels() const {
  return cut_.chunks > 1 && cut_.outputs > kPartialOutputs && cut_.chunks * panel_bytes() <= kKeptPanels;
}

int64_t SparseConv::scratch_bytes(const Planes&, const Planes&) const {
  const int64_t lanes = int64_t{kernels_.sparse_vectors} * kernels_.lanes;
  const int64_t panels = panel_bytes() * (keeps_panels() ? cut_.chunks : 1);
  return round_up(panels + TileSource::bytes(lanes) + (kPartialOutputs + kSparseBlock) * lanes * 4, 64);
}

void SparseConv::run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
                     const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const {
  const int64_t lanes = int64_t{kernels_.sparse_vectors} * kernels_.lanes;
  const ConvGrid grid = conv_grid(out.pixels(), kernels_.lanes, cut_.vectors, {}, blocks(), pool.threads());
  const int64_t each = scratch_bytes(in, out);
  const bool keeps = keeps_panels();
  const int64_t next_panel = keeps ? panel_bytes() : 0;
  const TileSource source(params_, padding, in, out);
  pool.run(grid.tasks, [&](int64_t task, int thread) {
    uint8_t* memory = scratch + thread * each;
    uint8_t* arrays = memory + panel_bytes() * (keeps ? cut_.chunks : 1);
    auto* partial = reinterpret_cast<int32_t*>(arrays + TileSource::bytes(lanes));
    auto* floats = reinterpret_cast<float*>(partial + kPartialOutputs * lanes);
    SparseTile job{};
    job.output = output_of(out, residual);
    job.output.float_stride = lanes;
    if (out_float) job.output.out_float = floats;
    grid.for_each_tile(task, [&](int64_t tile, int64_t part_begin, int64_t part_end) {
      const TilePixels pixels = grid.pixels_of(tile);
      PanelFill fill{};
      fill.vectors = pixels.vectors;
      source.locate(pixels.first, int64_t{fill.vectors} * kernels_.lanes, arrays, fill);
      fill.group_stride = in.group_stride;
      fill.row_bytes = cut_.row_bytes;
      fill.flip = static_cast<uint32_t>(kernels_.flip) * 0x01010101u;

      job.vectors = fill.vectors;
      // With one chunk sums stay in registers; with more, as many outputs go through all chunks as `partial` holds.
      const int64_t step = cut_.chunks == 1 ? part_end - part_begin : kPartialOutputs / kSparseBlock;
      for (int64_t from = part_begin; from < part_end; from += step) {
        const int64_t to = std::min(from + step, part_end);
        for (int32_t chunk = 0; chunk < cut_.chunks; ++chunk) {
          job.panel = fill.panel = memory + chunk * next_panel;
          if (!keeps || from == part_begin) {
            fill.in = in.group(cut_.begin(chunk));
            fill.groups = cut_.end(chunk) - cut_.begin(chunk);
            kernels_.fill(fill);
          }
          job.first = chunk == 0;
          job.last = chunk == cut_.chunks - 1;
          for (int64_t block = from; block < to; ++block) {
            const int64_t o = block * kSparseBlock, at = int64_t{chunk} * cut_.outputs + o;
            const uint32_t start = starts_[static_cast<std::size_t>(chunk * int64_t{blocks()} + block)];
            job.outputs = static_cast<int32_t>(std::min<int64_t>(kSparseBlock, cut_.outputs - o));
            job.order = order_.data() + at;
            job.counts = counts_.as<uint16_t>() + at / kernels_.sparse_lists;
            const bool records = kernels_.sparse_lists > 1;
            job.offsets = records ? nullptr : offsets_.as<uint16_t>() + start;
            job.values = values_.data() + start * (kRowBytes + (records ? int64_t{sizeof(uint16_t)} : 0));
            job.bias = bias() + o;
            job.multiplier = multiplier() + o;
            job.partial = partial + (cut_.chunks == 1 ? 0 : (block - from) * kSparseBlock * lanes);
            place(job.output, out, residual, o / 4, pixels.first);
            kernels_.sparse(job);
            if (out_float && job.last)
              store_float_tile(floats, lanes, out, float_plane(out), o, job.outputs, pixels.first, fill.vectors * kernels_.lanes,
                               out_float);
            if (job.last) after(out, o, job.outputs, pixels.first, fill.vectors * kernels_.lanes);
          }
        }
      }
    });
  });
}

}  // namespace niwaki
