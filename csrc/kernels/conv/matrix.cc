// Dense layers on a matrix unit, such as AMX. Their panels have all rows, from the first tap of the first group on: no bands, because a
// register is loaded at half the speed where its rows straddle cache lines.
#include <algorithm>

#include "kernels/conv/packed.h"
#include "kernels/conv/rows.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

namespace {

constexpr int64_t kRows = 16;           // of a register
constexpr int64_t kRegister = 16 * 64;  // bytes

}  // namespace

MatrixConv::MatrixConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason)
    : PackedBase(params, weights, kernels, kernels.dense_outputs, "matrix", std::move(reason)) {
  const int64_t blocks = div_up(params.out_channels, kernels.dense_outputs);
  weights_ = SharedBuffer(static_cast<std::size_t>(blocks * block_bytes()));
  std::memset(weights_.data(), 0, weights_.size());
  WeightRows source(params, weights.weight);
  for (int32_t o = 0; o < params.out_channels; ++o) {
    const int32_t within = o % kernels.dense_outputs, first = o - within;  // the block that it belongs to
    const int64_t registers = div_up(std::min(params.out_channels - first, kernels.dense_outputs), kRows);
    uint8_t* to = weights_.data() + first / kernels.dense_outputs * block_bytes() + within * int64_t{64};
    const int8_t* from = source.of(o, 0, in_groups());
    for (int64_t step = 0; step < rows(); step += kRows, to += registers * kRegister) {
      // Rows before `step` keep zeros: they had their turn.
      const int64_t begin = std::max<int64_t>(0, std::min(step, rows() - kRows)), end = std::min(step + kRows, rows());
      std::memcpy(to + (step - begin) * kRowBytes, from + step * kRowBytes, static_cast<std::size_t>((end - step) * kRowBytes));
    }
  }
}

int64_t MatrixConv::block_bytes() const { return div_up(rows(), kRows) * kernels_.dense_outputs * 64; }

// Whether the input itself is the panel. Not where it has fewer rows than a register: nothing that can be read may follow them.
bool MatrixConv::in_place(const Planes& in, const Planes& out) const {
  return rows() >= kRows && TileSource(params_, {}, in, out).direct();
}

struct MatrixConv::Scratch {
  int64_t lanes, row_bytes;       // of a panel, which comes first
  int64_t arrays, floats, bytes;  // where what follows it begins, and ends
};

MatrixConv::Scratch MatrixConv::scratch_of(const Planes& in, const Planes& out) const {
  Scratch at{};
  const int64_t vectors = std::min<int64_t>(kernels_.dense_vectors, div_up(out.pixels(), kernels_.lanes));
  at.lanes = vectors * kernels_.lanes;
  at.row_bytes = (vectors | 1) * 64;  // rows an even number of cache lines apart share sets of the cache
  at.arrays = in_place(in, out) ? 0 : std::max(rows(), kRows) * at.row_bytes;
  at.floats = at.arrays + TileSource::bytes(at.lanes);
  at.bytes = round_up(at.floats + at.lanes * kernels_.dense_outputs * 4, 64);
  return at;
}

int64_t MatrixConv::scratch_bytes(const Planes& in, const Planes& out) const { return scratch_of(in, out).bytes; }

void MatrixConv::run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
                     const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const {
  const int64_t width = kernels_.dense_outputs;
  const ConvGrid grid =
      conv_grid(out.pixels(), kernels_.lanes, kernels_.dense_vectors, {}, div_up(params_.out_channels, width), pool.threads());
  const TileSource source(params_, padding, in, out);
  const bool in_place = this->in_place(in, out);
  const Scratch at = scratch_of(in, out);
  pool.run(grid.tasks, [&](int64_t task, int thread) {
    uint8_t* memory = scratch + thread * at.bytes;
    auto* floats = reinterpret_cast<float*>(memory + at.floats);
    MatrixTile job{};
    job.rows = std::max(rows(), kRows);
    job.output = output_of(out, residual);
    job.output.float_stride = at.lanes;
    if (out_float) job.output.out_float = floats;
    kernels_.matrix->begin();
    grid.for_each_tile(task, [&](int64_t tile, int64_t begin, int64_t end) {
      const TilePixels pixels = grid.pixels_of(tile);
      job.vectors = pixels.vectors;
      if (in_place) {
        job.panel = in.data + pixels.first * 4;
        job.row_bytes = in.group_stride;
      } else {
        PanelFill fill{};
        fill.vectors = job.vectors;
        source.locate(pixels.first, int64_t{fill.vectors} * kernels_.lanes, memory + at.arrays, fill);
        fill.in = in.data;
        fill.group_stride = in.group_stride;
        fill.groups = in_groups();
        fill.row_bytes = at.row_bytes;
        fill.panel = memory;
        kernels_.fill(fill);
        job.panel = memory;
        job.row_bytes = at.row_bytes;
      }
      // A float32 tile has room for one block; else the blocks of all outputs are one call.
      const int64_t step = out_float ? 1 : end - begin;
      for (int64_t block = begin; block < end; block += step) {
        const int64_t o = block * width;
        job.out_groups = static_cast<int32_t>(div_up(std::min(step * width, params_.out_channels - o), 4));
        job.weights = weights_.data() + block * block_bytes();
        job.bias = bias() + o;
        job.multiplier = multiplier() + o;
        place(job.output, out, residual, o / 4, pixels.first);
        kernels_.matrix->tile(job);
        if (out_float)
          store_float_tile(floats, at.lanes, out, float_plane(out), o, width, pixels.first, job.vectors * kernels_.lanes,
                           out_float);
        after(out, o, step * width, pixels.first, job.vectors * kernels_.lanes);
      }
    });
    kernels_.matrix->end();
  });
}

}  // namespace niwaki
