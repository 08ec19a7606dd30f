// Selection of kernels, and weights in the order in which they read them.
#include <algorithm>
#include <map>
#include <numeric>
#include <utility>

#include "kernels/common/select.h"
#include "kernels/convolution/convolution.h"

namespace niwaki {

#define NIWAKI_CONVOLUTION(name, isa)        \
  namespace convolution_##name {             \
    void multiply(const PanelProduct& p);    \
    void multiply_taps(const TapProduct& p); \
  }
#include "kernels/convolution/kernels.inc"
#undef NIWAKI_CONVOLUTION

std::span<const ConvolutionKernel> convolution_kernels() {
  static constexpr ConvolutionKernel rows[] = {
#define NIWAKI_CONVOLUTION(name, isa) {#name, isa, convolution_##name::multiply, convolution_##name::multiply_taps},
#include "kernels/convolution/kernels.inc"
#undef NIWAKI_CONVOLUTION
  };
  return rows;
}

const ConvolutionKernel& select_convolution(Isa isa) { return select_kernel(convolution_kernels(), isa); }

namespace {

// The phases that have taps.
std::vector<ConvolutionPhase> find_phases(const ConvolutionParams& params) {
  std::map<Axes3, ConvolutionPhase> phases;
  for (int64_t z = 0; z < params.kernel[0]; ++z) {
    for (int64_t y = 0; y < params.kernel[1]; ++y) {
      for (int64_t x = 0; x < params.kernel[2]; ++x) {
        const Axes3 tap = {z, y, x};
        Axes3 rest = {0, 0, 0};
        if (params.transposed)
          for (std::size_t i = 0; i < 3; ++i) rest[i] = tap[i] * params.dilation[i] % params.stride[i];
        ConvolutionPhase& phase = phases[rest];
        phase.rest = rest;
        phase.taps.push_back(tap);
      }
    }
  }
  std::vector<ConvolutionPhase> found;
  for (auto& [rest, phase] : phases) found.push_back(std::move(phase));
  return found;
}

// Whether there are outputs without a tap: no multiple of the dilation leaves their rest, or only one beyond the kernel does.
bool has_gaps(const ConvolutionParams& params) {
  for (std::size_t i = 0; i < 3; ++i)
    if (std::min(params.kernel[i], params.stride[i] / std::gcd(params.stride[i], params.dilation[i])) < params.stride[i])
      return true;
  return false;
}

}  // namespace

ConvolutionWeights pack_convolution(const ConvolutionKernel& kernel, const float* weight, const float* bias,
                                    const ConvolutionParams& params) {
  ConvolutionWeights packed;
  packed.kernel = &kernel;
  packed.params = params;
  packed.depthwise = packed.in_group() == 1 && !params.transposed;
  packed.phases = find_phases(params);
  packed.gaps = params.transposed && has_gaps(params);
  const int64_t in_group = packed.in_group(), out_group = packed.out_group(), taps = volume(params.kernel);
  packed.width = packed.depthwise ? 1 : std::clamp<int64_t>(out_group, 1, kChannelBlock);
  const int64_t blocks = div_up(out_group, packed.width);

  int64_t floats = 0;
  for (ConvolutionPhase& phase : packed.phases) {
    phase.weights = floats;
    phase.block_floats = in_group * static_cast<int64_t>(phase.taps.size()) * packed.width;
    floats += params.groups * blocks * phase.block_floats;
  }
  packed.weights = Buffer(static_cast<std::size_t>(floats) * sizeof(float));
  auto* to = packed.weights.as<float>();
  std::fill_n(to, floats, 0.0f);
  for (const ConvolutionPhase& phase : packed.phases) {
    const auto count = static_cast<int64_t>(phase.taps.size());
    for (int64_t o = 0; o < params.out_channels; ++o) {
      const int64_t group = o / out_group, in_block = o % out_group;
      float* block =
          to + phase.weights + (group * blocks + in_block / packed.width) * phase.block_floats + in_block % packed.width;
      for (int64_t i = 0; i < in_group; ++i) {
        const int64_t row = params.transposed ? (group * in_group + i) * out_group + in_block : o * in_group + i;
        for (int64_t k = 0; k < count; ++k) {
          const Axes3& tap = phase.taps[static_cast<std::size_t>(k)];
          const int64_t place = (tap[0] * params.kernel[1] + tap[1]) * params.kernel[2] + tap[2];
          block[(i * count + k) * packed.width] = weight[row * taps + place];
        }
      }
    }
  }
  packed.bias = Buffer(static_cast<std::size_t>(params.out_channels) * sizeof(float));
  if (bias) std::copy_n(bias, params.out_channels, packed.bias.as<float>());
  else std::fill_n(packed.bias.as<float>(), params.out_channels, 0.0f);
  return packed;
}

}  // namespace niwaki
