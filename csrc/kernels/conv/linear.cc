#include <algorithm>

#include "kernels/conv/packed.h"

namespace niwaki {

LinearLayer::LinearLayer(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason)
    : PackedBase(params, weights, kernels, kernels.linear_outputs, "linear", std::move(reason)) {
  const int32_t width = kernels.linear_outputs;
  const int64_t count = div_up(params.out_channels, width);
  weights_ = Buffer(static_cast<std::size_t>(count * in_groups() * width * 4));
  auto* to = weights_.as<int8_t>();
  for (int64_t block = 0; block < count; ++block) {
    for (int32_t group = 0; group < in_groups(); ++group) {
      for (int64_t o = block * width; o < (block + 1) * width; ++o, to += 4) {
        int8_t four[4] = {0, 0, 0, 0};
        if (o < params.out_channels) four_weights(weights.weight, static_cast<int32_t>(o), group, 0, four);
        std::copy(four, four + 4, to);
      }
    }
  }
}

void LinearLayer::run(const Planes& in, const Planes& out, float* out_float, const Planes& residual, uint8_t*,
                      ThreadPool& pool) const {
  const int32_t width = kernels_.linear_outputs;
  const int64_t blocks = div_up(params_.out_channels, width);
  pool.run(blocks, [&](int64_t block, int) {
    const int64_t o = block * width;
    LinearTile job{};
    job.row_bytes = in.group_stride;
    job.rows = in_groups();
    job.valid = static_cast<int32_t>(std::min<int64_t>(width, params_.out_channels - o));
    job.weights = weights_.data() + block * in_groups() * width * 4;
    job.bias = bias() + o;
    job.multiplier = multiplier() + o;
    for (int64_t image = 0; image < in.images; image += job.images) {
      job.in = in.data + image * 4;
      job.images = static_cast<int32_t>(std::min<int64_t>(kernels_.linear_images, in.images - image));
      job.output = output_at(out, residual, o / 4, image);
      if (out_float) {
        job.output.out_float = out_float + image * out.channels + o;
        job.output.float_stride = out.channels;
      }
      kernels_.linear(job);
    }
  });
}

}  // namespace niwaki
