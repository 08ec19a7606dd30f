// Sparse layers with groups of channels: a sparse layer for each group, on its own planes of inputs and outputs.
#include <algorithm>

#include "kernels/conv/cost.h"
#include "kernels/conv/packed.h"

namespace niwaki {

namespace {

ConvParams of_one_group(const ConvParams& params) {
  ConvParams own = params;
  own.in_channels /= params.groups;
  own.out_channels /= params.groups;
  own.groups = 1;
  return own;
}

ConvWeights of_group(const ConvParams& own, const ConvWeights& weights, int32_t group) {
  const int64_t first = int64_t{group} * own.out_channels;
  const int64_t each = int64_t{own.in_channels} * own.kernel_h * own.kernel_w;
  return {weights.weight + first * each, weights.bias + first, weights.multiplier + first};
}

Planes channels_of(const Planes& planes, int32_t group, int32_t channels) {
  Planes own = planes;
  own.data = planes.group(int64_t{group} * channels / 4);
  own.channels = channels;
  return own;
}

}  // namespace

GroupedSparse::GroupedSparse(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason)
    : own_(of_one_group(params)), reason_(std::move(reason)) {
  for (int32_t group = 0; group < params.groups; ++group)
    parts_.push_back(std::make_unique<SparseConv>(own_, of_group(own_, weights, group), kernels, reason_));
}

bool GroupedSparse::possible(const ConvParams& params, const ConvKernels& kernels) {
  const ConvParams own = of_one_group(params);
  // Planes hold four channels, and a float32 result has all of an image's.
  return params.groups > 1 && own.in_channels % 4 == 0 && own.out_channels % 4 == 0 && !params.float_output &&
         SparseCut(own, kernels).offsets_fit();
}

// What conv_cost does not know, measured with AVX-512: dense layers copy less, for they have bands that stay in the L1 cache, with strides
// above all; where the inputs of a tile lie is found out for each group of a sparse layer. Cycles of a vector of pixels.
ConvCost GroupedSparse::cost(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels) {
  constexpr double kCopied = 1.2, kFound = 40.0, kStrided = 6.0;
  const ConvParams own = of_one_group(params);
  const SparseCut cut(own, kernels);
  const double vectors = static_cast<double>(std::max<int64_t>(1, div_up(params.expected_pixels, kernels.lanes)));
  ConvCost sum{};
  if (kernels.fill_band) {
    const double copies = static_cast<double>(params.groups) * cut.groups * cut.taps * vectors;
    sum.dense = -kCopied * copies;
    sum.sparse = kFound * params.groups * vectors + (params.stride_h > 1 || params.stride_w > 1 ? kStrided * copies : 0.0);
  }
  for (int32_t group = 0; group < params.groups; ++group) {
    const ConvCost one = conv_cost(own, of_group(own, weights, group).weight, kernels, cut);
    sum.dense += one.dense;
    sum.sparse += one.sparse;
    sum.filled += one.filled / params.groups;
  }
  return sum;
}

int64_t GroupedSparse::bytes() const {
  int64_t bytes = 0;
  for (const auto& part : parts_) bytes += part->bytes();
  return bytes;
}

std::vector<SharedBuffer*> GroupedSparse::weights() {
  std::vector<SharedBuffer*> all;
  for (const auto& part : parts_)
    for (SharedBuffer* buffer : part->weights()) all.push_back(buffer);
  return all;
}

int64_t GroupedSparse::scratch_bytes(const Planes& in, const Planes& out) const {  // all parts alike
  return parts_[0]->scratch_bytes(channels_of(in, 0, own_.in_channels), channels_of(out, 0, own_.out_channels));
}

void GroupedSparse::run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
                        const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const {
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const auto group = static_cast<int32_t>(i);
    const Planes added = own_.has_residual ? channels_of(residual, group, own_.out_channels) : residual;
    const AfterFrom own_after{after.after, after.group + int64_t{group} * own_.out_channels / 4};
    parts_[i]->run(channels_of(in, group, own_.in_channels), padding, channels_of(out, group, own_.out_channels), out_float,
                   added, own_after, scratch, pool);
  }
}

}  // namespace niwaki
