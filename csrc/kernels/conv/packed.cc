#include "kernels/conv/packed.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

namespace niwaki {

PackedBase::PackedBase(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, int32_t block,
                       const char* kind, std::string reason)
    : params_(params), kernels_(kernels), name_(std::string("conv_") + kind + "_" + kernels.name), reason_(std::move(reason)) {
  const int64_t outputs = round_up(std::max(params.out_channels, 1), block);
  bias_ = Buffer(static_cast<std::size_t>(outputs) * 4);
  multiplier_ = Buffer(static_cast<std::size_t>(outputs) * 4);
  const int64_t length = int64_t{params.in_channels / params.groups} * taps();
  for (int64_t o = 0; o < outputs; ++o) {
    if (o >= params.out_channels) {
      bias_.as<int32_t>()[o] = 0;
      multiplier_.as<float>()[o] = 0.0f;
      continue;
    }
    // sum w (q - z) + bias = sum w (q - flip) + (bias + (flip - z) sum w): kernels only see the right-hand side. Sums wrap as in
    // the kernels. Padding is the zero point and goes the same way.
    uint32_t sum = 0;
    int64_t largest = 0;
    constexpr int64_t kTogether = 1 << 20;  // 32 bits hold so many magnitudes
    for (int64_t first = 0; first < length; first += kTogether) {
      uint32_t magnitudes = 0;
      for (int64_t i = first; i < std::min(first + kTogether, length); ++i) {
        const int32_t weight = weights.weight[o * length + i];
        sum += static_cast<uint32_t>(weight);
        magnitudes += static_cast<uint32_t>(std::abs(weight));
      }
      largest += magnitudes;
    }
    const double bound = (255.0 * static_cast<double>(largest) + std::abs(static_cast<double>(weights.bias[o]))) *
                         std::abs(static_cast<double>(weights.multiplier[o]));
    if (!(bound < 1e9) || (params.has_residual && !(std::abs(params.residual_scale) < 1e6f))) bounded_ = false;
    bias_.as<int32_t>()[o] =
        static_cast<int32_t>(static_cast<uint32_t>(weights.bias[o]) + static_cast<uint32_t>(kernels.flip - params.in_zero) * sum);
    multiplier_.as<float>()[o] = weights.multiplier[o];
  }
}

void PackedConv::share_weights(PackedConv& other) {
  const std::vector<SharedBuffer*> own = weights(), others = other.weights();
  if (std::strcmp(kernel(), other.kernel()) != 0 || own.size() != others.size()) return;
  for (std::size_t i = 0; i < own.size(); ++i) own[i]->share(*others[i]);
}

ConvOutput PackedBase::output_of(const Planes& out, const Planes& residual) const {
  ConvOutput output{};
  output.out_stride = out.group_stride;
  if (params_.has_residual) {
    output.residual_stride = residual.group_stride;
    output.residual_zero = params_.residual_zero;
    output.residual_scale = params_.residual_scale;
  }
  output.low = static_cast<float>(params_.low - params_.out_zero);
  output.high = static_cast<float>(params_.high - params_.out_zero);
  output.out_zero = params_.out_zero;
  output.bounded = bounded_;
  output.plain = bounded_ && params_.out_zero == 0 && params_.low == 0 && params_.high == 255 &&
                 (!params_.has_residual || params_.residual_zero == 0);
  return output;
}

namespace {

using Four = float __attribute__((vector_size(16)));

Four load_four(const float* from) {
  Four four;
  std::memcpy(&four, from, sizeof four);
  return four;
}

void store_four(float* to, Four four) { std::memcpy(to, &four, sizeof four); }

// Rows of `to`, `stride` apart, from columns of `tile`, four by four: `outputs` and `pixels` of them.
void transpose_tile(const float* tile, int64_t pitch, int64_t outputs, int64_t pixels, float* to, int64_t stride) {
  const int64_t whole_outputs = outputs / 4 * 4, whole_pixels = pixels / 4 * 4;
  for (int64_t p = 0; p < whole_pixels; p += 4) {
    for (int64_t o = 0; o < whole_outputs; o += 4) {
      const float* from = tile + o * pitch + p;
      const Four a = load_four(from), b = load_four(from + pitch), c = load_four(from + 2 * pitch),
                 d = load_four(from + 3 * pitch);
      const Four ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), cd = __builtin_shufflevector(c, d, 0, 4, 1, 5);
      const Four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
      float* row = to + p * stride + o;
      store_four(row, __builtin_shufflevector(ab, cd, 0, 1, 4, 5));
      store_four(row + stride, __builtin_shufflevector(ab, cd, 2, 3, 6, 7));
      store_four(row + 2 * stride, __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5));
      store_four(row + 3 * stride, __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7));
    }
  }
  for (int64_t p = 0; p < pixels; ++p)
    for (int64_t o = p < whole_pixels ? whole_outputs : 0; o < outputs; ++o) to[p * stride + o] = tile[o * pitch + p];
}

}  // namespace

void store_float_tile(const float* tile, int64_t pitch, const Planes& out, int64_t plane, int64_t first_output, int64_t outputs,
                      int64_t first_pixel, int64_t pixels, float* to) {
  pixels = std::min(pixels, out.pixels() - first_pixel);
  outputs = std::min<int64_t>(outputs, out.channels - first_output);
  if (plane == 1)
    return transpose_tile(tile, pitch, outputs, pixels, to + first_pixel * out.channels + first_output, out.channels);
  for (int64_t done = 0; done < pixels;) {
    const int64_t image = (first_pixel + done) / plane, within = (first_pixel + done) % plane;
    const int64_t count = std::min(pixels - done, plane - within);
    for (int64_t o = 0; o < outputs; ++o)
      std::memcpy(to + (image * out.channels + first_output + o) * plane + within, tile + o * pitch + done,
                  static_cast<std::size_t>(count) * sizeof(float));
    done += count;
  }
}

}  // namespace niwaki
