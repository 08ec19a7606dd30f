// Sparse linear layers of few rows.
#include <algorithm>
#include <cstring>

#include "kernels/conv/packed.h"
#include "kernels/conv/pick_lists.h"
#include "kernels/conv/rows.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

PickConv::PickConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason)
    : PackedBase(params, weights, kernels, kPickSets * kernels.lanes, "pick", std::move(reason)) {
  PickLists packed(kernels);
  std::vector<SparseLists::List> lists(static_cast<std::size_t>(width()));
  for (SparseLists::List& list : lists) list.blocks.resize(static_cast<std::size_t>(in_groups()));
  WeightRows source(params, weights.weight);
  for (int32_t first = 0; first < params.out_channels; first += width()) {
    for (int32_t i = 0; i < width(); ++i) {
      SparseLists::List& list = lists[static_cast<std::size_t>(i)];
      list.count = 0;
      if (first + i < params.out_channels) list.take(source.of(first + i, 0, in_groups()), in_groups(), 1);
    }
    starts_.push_back(packed.steps());
    packed.append(lists);
  }
  counts_ = SharedBuffer(copy_of(packed.counts));
  windows_ = SharedBuffer(copy_of(packed.windows));
  lanes_ = SharedBuffer(copy_of(packed.lanes));
  weights_ = SharedBuffer(copy_of(packed.weights));
  places_ = SharedBuffer(copy_of(packed.places));
}

int64_t PickConv::bytes() const {
  return static_cast<int64_t>(starts_.size() * sizeof(int64_t) + counts_.size() + windows_.size() + lanes_.size() +
                              weights_.size() + places_.size()) +
         constants_bytes();
}

int64_t PickConv::scratch_bytes(const Planes&, const Planes&) const {
  return row_bytes() + round_up(int64_t{width()} * static_cast<int64_t>(sizeof(float)), 64);
}

void PickConv::run(const Planes& in, const ConvPadding&, const Planes& out, float* out_float, const Planes& residual,
                   const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const {
  const ConvGrid grid = conv_grid(out.pixels(), 1, 1, {}, div_up(params_.out_channels, width()), pool.threads());
  const int64_t each = scratch_bytes(in, out);
  pool.run(grid.tasks, [&](int64_t task, int thread) {
    uint8_t* const row = scratch + thread * each;
    auto* const floats = reinterpret_cast<float*>(row + row_bytes());
    PickTile job{};
    job.output = output_of(out, residual);
    job.in = row;
    grid.for_each_tile(task, [&](int64_t pixel, int64_t begin, int64_t end) {
      if (in.group_stride == 4) std::memcpy(row, in.data + pixel * 4, static_cast<std::size_t>(in_groups()) * 4);
      else
        for (int32_t group = 0; group < in_groups(); ++group)
          std::memcpy(row + int64_t{group} * 4, in.group(group) + pixel * 4, 4);
      std::memset(row + int64_t{in_groups()} * 4, 0, static_cast<std::size_t>(row_bytes() - int64_t{in_groups()} * 4));
      if (kernels_.flip != 0)
        for (int64_t i = 0; i < int64_t{in_groups()} * 4; ++i) row[i] = static_cast<uint8_t>(row[i] ^ kernels_.flip);
      for (int64_t tile = begin; tile < end; ++tile) {
        const int64_t o = tile * width(), start = starts_[static_cast<std::size_t>(tile)];
        job.counts = counts_.as<uint16_t>() + tile * kPickSets;
        job.windows = windows_.as<uint16_t>() + start;
        job.lanes = lanes_.data() + start * kernels_.lanes * kernels_.pick_bytes;
        job.weights = weights_.data() + start * kernels_.lanes * kRowBytes;
        job.places = places_.data() + o;
        job.valid = static_cast<int32_t>(std::min<int64_t>(width(), params_.out_channels - o));
        job.bias = bias() + o;
        job.multiplier = multiplier() + o;
        place(job.output, out, residual, o / 4, pixel);
        float* const to = out_float ? out_float + pixel * params_.out_channels + o : nullptr;
        const bool in_place = job.valid == width();
        if (out_float) job.output.out_float = in_place ? to : floats;
        kernels_.pick(job);
        if (out_float && !in_place) std::copy_n(floats, job.valid, to);
        after(out, o, job.valid, pixel, 1);
      }
    });
  });
}

}  // namespace niwaki
