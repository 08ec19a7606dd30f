// Random inputs and layers for the benchmarks of kernels.
#pragma once

#include <cmath>
#include <vector>

#include "kernels/common/test_planes.h"
#include "kernels/conv/conv.h"
#include "kernels/depthwise/depthwise.h"

namespace niwaki::bench {

using testing::Activation;
using testing::Random;

inline Activation random_activation(int32_t images, int32_t channels, int32_t side) {
  Random random(1);
  Activation activation(images, channels, side, side);
  activation.randomize(random);
  return activation;
}

struct Bytes : Buffer {
  explicit Bytes(int64_t count) : Buffer(static_cast<size_t>(count)) {
    Random random(2);
    for (size_t i = 0; i < size(); ++i) data()[i] = static_cast<uint8_t>(random.next());
  }
};

struct Floats : Buffer {
  explicit Floats(int64_t count) : Buffer(static_cast<size_t>(count) * sizeof(float)) {
    Random random(3);
    for (int64_t i = 0; i < count; ++i) data()[i] = random.real(-3.0f, 3.0f);
  }
  float* data() { return as<float>(); }
};

// A square convolution whose output has the size of its input, or, where `side` is 0, a linear layer over 128 tokens.
struct ConvLayer {
  ConvParams params{};
  std::vector<int8_t> weight;
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
  Activation in, out;

  // zeros: the share of 1 x 4 blocks that are zero; largest: of the other weights.
  ConvLayer(int32_t channels, int32_t outputs, int32_t side, int32_t kernel, double zeros, int32_t largest)
      : bias(static_cast<size_t>(outputs), 0),
        multiplier(static_cast<size_t>(outputs), 1e-3f / std::sqrt(static_cast<float>(channels))),
        in(random_activation(side == 0 ? 128 : 1, channels, side == 0 ? 1 : side)),
        out(random_activation(side == 0 ? 128 : 1, outputs, side == 0 ? 1 : side)) {
    params.in_channels = channels, params.out_channels = outputs, params.groups = 1;
    params.kernel_h = params.kernel_w = kernel, params.padded = kernel > 1;
    params.stride_h = params.stride_w = params.dilation_h = params.dilation_w = 1;
    params.in_zero = 3, params.high = 255, params.linear = side == 0;
    Random random(4);
    const int64_t taps = int64_t{kernel} * kernel;
    weight.resize(static_cast<size_t>(outputs * channels * taps));
    for (int64_t o = 0; o < outputs; ++o)
      for (int64_t tap = 0; tap < taps; ++tap)
        for (int64_t c = 0; c < channels; c += 4) {
          if (random.real(0.0f, 1.0f) < static_cast<float>(zeros)) continue;
          for (int64_t i = c; i < std::min<int64_t>(c + 4, channels); ++i)
            weight[static_cast<size_t>((o * channels + i) * taps + tap)] = static_cast<int8_t>(random.integer(-largest, largest));
        }
  }

  ConvPadding padding() const { return {params.kernel_h / 2, params.kernel_w / 2}; }
  ConvWeights weights() const { return {weight.data(), bias.data(), multiplier.data()}; }
  double macs() const { return static_cast<double>(weight.size()) * static_cast<double>(out.planes.pixels()); }
};

struct DepthwiseLayer {
  DepthwiseParams params{3, 3, 1, 1, 1, 1, 1, 1, 3, 0, 0, 255};
  Activation in, out;
  DepthwiseWeights weights;

  DepthwiseLayer(const DepthwiseKernel& kernel, int32_t channels, int32_t side)
      : in(random_activation(1, channels, side)), out(random_activation(1, channels, side)) {
    Random random(5);
    std::vector<int8_t> weight(static_cast<size_t>(channels) * 9);
    for (int8_t& value : weight) value = static_cast<int8_t>(random.integer(-127, 127));
    const std::vector<int32_t> bias(static_cast<size_t>(channels), 0);
    const std::vector<float> multiplier(static_cast<size_t>(channels), 1e-3f);
    weights = pack_depthwise(kernel, weight.data(), bias.data(), multiplier.data(), channels, params);
  }
};

}  // namespace niwaki::bench
