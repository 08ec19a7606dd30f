#include <algorithm>
#include <cstring>

#include "kernels/conv/packed.h"
#include "kernels/conv/rows.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

namespace {

constexpr int64_t kTilePixels = 64;
// Bytes of weights, of one block of outputs, that should stay in the L1 cache while the pixels of a tile pass.
constexpr int64_t kChunkBytes = 24 * 1024;

// Tiles up to here multiply from numbers of 4 bits themselves; beyond, the first one unpacks them for the others.
constexpr int64_t kFromNibbles = 3;

bool one_tap(const ConvParams& params) {
  return params.kernel_h == 1 && params.kernel_w == 1 && params.stride_h == 1 && params.stride_w == 1 && !params.padded;
}

// Every other time true, of each thread. Where the same layer runs again and again, as a recurrent one does in each step, and its weights are
// about as large as the cache, the cache has always just lost what a run from the front begins with. Back and forth, it has most of them.
bool turned() {
  thread_local bool turn = false;
  turn = !turn;
  return turn;
}

}  // namespace

bool WideConv::possible(const ConvParams& params, const ConvKernels& kernels) {
  return params.groups == 1 && (one_tap(params) || !kernels.pairs);
}

WideConv::WideConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels,
                   std::optional<Nibbles> nibbles, std::string reason)
    : PackedBase(params, weights, kernels, kernels.wide_outputs, nibbles ? "wide4" : "wide", std::move(reason)),
      nibbles_(nibbles) {
  const int32_t width = kernels.wide_outputs;
  const int64_t blocks = div_up(params.out_channels, width);
  weights_ = SharedBuffer(static_cast<std::size_t>(blocks * rows() * row_bytes()));
  // A block as bytes, which are then packed tighter or are what is wanted.
  Buffer memory(nibbles ? static_cast<std::size_t>(rows() * width * kRowBytes) : 0);
  WeightRows source(params, weights.weight);
  for (int64_t block = 0; block < blocks; ++block) {
    uint8_t* const packed = weights_.data() + block * rows() * row_bytes();
    uint8_t* const bytes = nibbles ? memory.data() : packed;
    std::memset(bytes, 0, static_cast<std::size_t>(rows() * width * kRowBytes));
    for (int32_t i = 0; i < std::min<int64_t>(width, params.out_channels - block * width); ++i) {
      const int8_t* from = source.of(static_cast<int32_t>(block * width + i), 0, in_groups());
      for (int64_t row = 0; row < rows(); ++row)
        std::memcpy(bytes + (row * width + i) * kRowBytes, from + row * kRowBytes, kRowBytes);
    }
    if (nibbles) nibbles->pack(bytes, rows(), width, packed);
  }
}

int64_t WideConv::chunk_rows() const { return std::max<int64_t>(1, kChunkBytes / (int64_t{kernels_.wide_outputs} * kRowBytes)); }

// Of rows as bytes, where several tiles are made of numbers of 4 bits that are unpacked once.
int64_t WideConv::unpacked_bytes() const {
  return nibbles_ && !kernels_.pairs ? std::min(rows(), chunk_rows()) * kernels_.wide_outputs * kRowBytes : 0;
}

int64_t WideConv::scratch_bytes(const Planes& in, const Planes& out) const {
  const int64_t panel = TileSource(params_, {}, in, out).direct() ? 0 : rows() * kTilePixels * 4;
  const int64_t sums = kTilePixels * kernels_.wide_outputs * 4;
  return round_up(round_up(panel, 64) + TileSource::bytes(kTilePixels) + 2 * sums + unpacked_bytes(), 64);
}

void WideConv::run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
                   const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const {
  const int32_t width = kernels_.wide_outputs;
  const int64_t blocks = div_up(params_.out_channels, width);
  const ConvGrid grid = conv_grid(out.pixels(), 1, kTilePixels, {}, blocks, pool.threads());
  const TileSource source(params_, padding, in, out);
  const bool in_place = source.direct();
  const int64_t each = scratch_bytes(in, out);
  const int64_t plane = float_plane(out);
  pool.run(grid.tasks, [&](int64_t task, int thread) {
    WideTile job{};
    job.output = output_of(out, residual);
    grid.for_each_tile(task, [&](int64_t tile, int64_t begin, int64_t end) {
      const int64_t first = grid.first_vector(tile), pixels = grid.first_vector(tile + 1) - first;
      uint8_t* memory = scratch + thread * each;
      uint8_t* arrays = memory + (in_place ? 0 : round_up(rows() * kTilePixels * 4, 64));
      auto* partial = reinterpret_cast<int32_t*>(arrays + TileSource::bytes(kTilePixels));
      auto* floats = reinterpret_cast<float*>(partial + kTilePixels * width);
      auto* const unpacked = reinterpret_cast<uint8_t*>(floats + kTilePixels * width);
      const uint8_t* panel = in.data + first * 4;
      if (!in_place) {
        PanelFill fill{};
        source.locate(first, kTilePixels, arrays, fill);
        fill.in = in.data;
        fill.group_stride = in.group_stride;
        fill.groups = in_groups();
        fill.vectors = static_cast<int32_t>(div_up(pixels, kernels_.lanes));
        fill.panel = memory;
        fill.row_bytes = kTilePixels * 4;
        kernels_.fill(fill);
        panel = memory;
      }
      job.row_bytes = in_place ? in.group_stride : kTilePixels * 4;
      const bool once = pixels <= kernels_.wide_pixels;  // weights are then used once
      const bool backwards = once && turned();
      for (int64_t next = begin; next < end; ++next) {
        const int64_t block = backwards ? begin + end - 1 - next : next;
        const int64_t o = block * width;
        job.valid = static_cast<int32_t>(std::min<int64_t>(width, params_.out_channels - o));
        // Images that are single pixels are rows of float32: whole blocks of outputs are written where they belong.
        const bool rows_in_place = plane == 1 && job.valid == width;
        job.output.float_stride = rows_in_place ? params_.out_channels : width;
        float* const results = out_float && rows_in_place ? out_float + first * params_.out_channels + o : floats;
        job.bias = bias() + o;
        job.multiplier = multiplier() + o;
        const int64_t step = once ? rows() : chunk_rows();
        for (int64_t row = 0; row < rows(); row += step) {
          job.rows = std::min(step, rows() - row);
          job.weights = weights_.data() + (block * rows() + row) * row_bytes();
          job.table = nibbles_ ? nibbles_->table.data() : nullptr;
          job.unpacked = unpacked_bytes() == 0 || pixels <= kFromNibbles * kernels_.wide_pixels ? nullptr : unpacked;
          job.first = row == 0;
          job.last = row + job.rows == rows();
          for (int64_t p = 0; p < pixels; p += job.pixels) {
            const int64_t left = pixels - p, most = kernels_.wide_pixels;
            job.pixels = static_cast<int32_t>(left > most && left < 2 * most ? div_up(left, 2) : std::min(left, most));
            job.in = panel + row * job.row_bytes + p * 4;
            job.partial = partial + p * width;
            place(job.output, out, residual, o / 4, first + p);
            if (out_float) job.output.out_float = results + p * job.output.float_stride;
            kernels_.wide(job);
            if (job.unpacked) job.weights = unpacked, job.table = nullptr, job.unpacked = nullptr;
          }
        }
        after(out, o, job.valid, first, pixels);
        if (!out_float || rows_in_place) continue;
        for (int64_t p = 0; p < pixels; ++p) {
          const int64_t image = (first + p) / plane, within = (first + p) % plane;
          for (int64_t i = 0; i < job.valid; ++i)
            out_float[(image * out.channels + o + i) * plane + within] = floats[p * width + i];
        }
      }
    });
  });
}

}  // namespace niwaki
