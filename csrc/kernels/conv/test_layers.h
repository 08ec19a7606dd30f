// What the tests of convolution kernels share: random layers, what they have to give, and the check of a packed layer against it, ==.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <sstream>
#include <string>
#include <vector>

#include "base/memory.h"
#include "kernels/common/test_after.h"
#include "kernels/conv/conv.h"
#include "testing/test.h"

namespace niwaki {
namespace {

using testing::Counting;
using testing::Random;

struct Case {
  int32_t images, channels, height, width, outputs, kernel_h, kernel_w, stride_h, stride_w, pad, dilation_h, dilation_w, groups;
  double zeros;  // share of 1 x 4 blocks that are zero
};

struct Layer {
  Case shape;
  ConvParams params{};
  int32_t out_height, out_width;
  std::vector<int8_t> weight;
  std::vector<int32_t> bias;
  std::vector<float> multiplier;
  std::vector<uint8_t> in, residual;  // NCHW
};

int32_t out_size(int32_t in, int32_t kernel, int32_t stride, int32_t pad, int32_t dilation) {
  return (in + 2 * pad - dilation * (kernel - 1) - 1) / stride + 1;
}

// What a layer does with its sums. extreme: values at the ends of their ranges; plain: as after a ReLU, see ConvOutput.
struct Variant {
  bool residual = false, float_output = false, extreme = false, plain = false;
};
constexpr Variant kVariants[] = {
    {}, {.residual = true}, {.float_output = true}, {.extreme = true}, {.plain = true}, {.residual = true, .plain = true}};

Layer make_layer(const Case& c, Random& random, const Variant& variant) {
  const auto [residual, float_output, extreme, plain] = variant;
  Layer layer{};
  layer.shape = c;
  layer.out_height = out_size(c.height, c.kernel_h, c.stride_h, c.pad, c.dilation_h);
  layer.out_width = out_size(c.width, c.kernel_w, c.stride_w, c.pad, c.dilation_w);
  ConvParams& p = layer.params;
  p.in_channels = c.channels;
  p.out_channels = c.outputs;
  p.groups = c.groups;
  p.kernel_h = c.kernel_h;
  p.kernel_w = c.kernel_w;
  p.stride_h = c.stride_h;
  p.stride_w = c.stride_w;
  p.dilation_h = c.dilation_h;
  p.dilation_w = c.dilation_w;
  p.padded = c.pad > 0;
  p.in_zero = extreme ? 255 : random.integer(0, 255);
  p.out_zero = random.integer(0, 255);
  p.low = random.integer(0, 1) ? p.out_zero : 0;
  p.high = random.integer(p.out_zero, 255);
  p.float_output = float_output;
  p.has_residual = residual;
  p.residual_zero = random.integer(0, 255);
  p.residual_scale = random.real(0.2f, 1.5f);
  if (plain) {
    p.out_zero = p.low = p.residual_zero = 0;
    p.high = 255;
  }
  p.linear = c.height == 1 && c.width == 1 && c.kernel_h == 1 && c.kernel_w == 1 && c.groups == 1 && c.pad == 0;

  const int32_t per_group = c.channels / c.groups;
  const int64_t taps = int64_t{c.kernel_h} * c.kernel_w;
  layer.weight.resize(static_cast<std::size_t>(int64_t{c.outputs} * per_group * taps));
  for (int32_t o = 0; o < c.outputs; ++o)
    for (int32_t first = 0; first < per_group; first += 4)
      for (int64_t tap = 0; tap < taps; ++tap) {
        const bool zero = random.real(0, 1) < static_cast<float>(c.zeros);
        for (int32_t i = first; i < first + 4 && i < per_group; ++i)
          layer.weight[static_cast<std::size_t>((int64_t{o} * per_group + i) * taps + tap)] =
              static_cast<int8_t>(zero      ? 0
                                  : extreme ? (random.integer(0, 1) ? 127 : -127)
                                            : random.integer(-127, 127));
      }
  for (int32_t o = 0; o < c.outputs; ++o) {
    layer.bias.push_back(random.integer(-20000, 20000));
    // With extreme values also multipliers that drive t past 2^31: the clamp must come before the conversion.
    const float large = extreme && o % 3 == 0 ? 1e6f : 1.0f;
    layer.multiplier.push_back(large * random.real(0.0f, 0.02f) / std::sqrt(static_cast<float>(per_group * taps)));
  }
  for (int64_t i = 0; i < int64_t{c.images} * c.channels * c.height * c.width; ++i)
    layer.in.push_back(static_cast<uint8_t>(extreme ? 255 * random.integer(0, 1) : random.integer(0, 255)));
  for (int64_t i = 0; i < int64_t{c.images} * c.outputs * layer.out_height * layer.out_width; ++i)
    layer.residual.push_back(static_cast<uint8_t>(random.integer(0, 255)));
  return layer;
}

// What the layer computes, by the contract of docs/architecture.md: NCHW.
struct Expected {
  std::vector<uint8_t> bytes;
  std::vector<float> floats;
};

// The sums of one output channel of one image, [out_height * out_width].
std::vector<int64_t> sums_of(const Layer& layer, int32_t n, int32_t o) {
  const Case& c = layer.shape;
  const int32_t ins = c.channels / c.groups, outs = c.outputs / c.groups;
  std::vector<int64_t> sums(static_cast<std::size_t>(int64_t{layer.out_height} * layer.out_width),
                            layer.bias[static_cast<std::size_t>(o)]);
  const int8_t* weight = layer.weight.data() + int64_t{o} * ins * c.kernel_h * c.kernel_w;
  for (int32_t i = 0; i < ins; ++i)
    for (int32_t ky = 0; ky < c.kernel_h; ++ky)
      for (int32_t kx = 0; kx < c.kernel_w; ++kx) {
        const int32_t w = *weight++;
        if (w == 0) continue;
        const uint8_t* plane = layer.in.data() + (n * int64_t{c.channels} + o / outs * ins + i) * c.height * c.width;
        for (int32_t y = 0; y < layer.out_height; ++y)
          for (int32_t x = 0; x < layer.out_width; ++x) {
            const int32_t iy = y * c.stride_h - c.pad + ky * c.dilation_h, ix = x * c.stride_w - c.pad + kx * c.dilation_w;
            if (iy < 0 || iy >= c.height || ix < 0 || ix >= c.width) continue;
            sums[static_cast<std::size_t>(y * layer.out_width + x)] += (plane[iy * c.width + ix] - layer.params.in_zero) * w;
          }
      }
  return sums;
}

Expected expect(const Layer& layer) {
  const ConvParams& p = layer.params;
  Expected expected;
  for (int32_t n = 0; n < layer.shape.images; ++n)
    for (int32_t o = 0; o < layer.shape.outputs; ++o)
      for (const int64_t sum : sums_of(layer, n, o)) {
        float t = static_cast<float>(static_cast<int32_t>(sum)) * layer.multiplier[static_cast<std::size_t>(o)];
        expected.floats.push_back(t);
        if (p.has_residual) {
          const float r = static_cast<float>(layer.residual[expected.bytes.size()] - p.residual_zero) * p.residual_scale;
          t = t + r;
        }
        double clamped = std::fmax(t, static_cast<float>(p.low - p.out_zero));
        clamped = std::fmin(clamped, static_cast<double>(p.high - p.out_zero));
        expected.bytes.push_back(static_cast<uint8_t>(std::nearbyint(clamped) + p.out_zero));
      }
  return expected;
}

// NCHW bytes into planes; lanes that belong to no channel or pixel hold `fill`.
struct Held {
  Buffer memory;
  Planes planes{};
  Held(int32_t images, int32_t channels, int32_t height, int32_t width, uint8_t fill) {
    planes = {nullptr, group_stride_of(int64_t{images} * height * width), images, channels, height, width};
    memory = Buffer(static_cast<std::size_t>(planes.group_stride * planes.groups() + kOverread));
    std::memset(memory.data(), fill, memory.size());
    planes.data = memory.data();
  }
  uint8_t& at(int64_t n, int64_t c, int64_t y, int64_t x) {
    return planes.group(c / 4)[((n * planes.height + y) * planes.width + x) * 4 + c % 4];
  }
  void set(const std::vector<uint8_t>& values) {
    std::size_t i = 0;
    for (int32_t n = 0; n < planes.images; ++n)
      for (int32_t c = 0; c < planes.channels; ++c)
        for (int32_t y = 0; y < planes.height; ++y)
          for (int32_t x = 0; x < planes.width; ++x) at(n, c, y, x) = values[i++];
  }
};

constexpr int64_t kManyPixels = 4096;

inline void check_packed(const Layer& layer, const Expected& expected, const PackedConv& packed, int threads) {
  const Case& c = layer.shape;
  Held in(c.images, c.channels, c.height, c.width, 0xA5);
  in.set(layer.in);
  Held residual(c.images, c.outputs, layer.out_height, layer.out_width, 0x5A);
  residual.set(layer.residual);
  Held out(c.images, c.outputs, layer.out_height, layer.out_width, 0xEE);
  ThreadPool pool(threads);
  Buffer scratch(static_cast<std::size_t>(packed.scratch_bytes(in.planes, out.planes) * threads));
  std::memset(scratch.data(), 0xEE, scratch.size());
  const Planes no_residual{};
  std::vector<float> got(expected.floats.size(), std::nanf(""));
  // Twice: the second run must not find anything that the first left.
  for (int run = 0; run < 2; ++run)
    packed.run(in.planes, {c.pad, c.pad}, out.planes, layer.params.float_output ? got.data() : nullptr,
               layer.params.has_residual ? residual.planes : no_residual, {}, scratch.data(), pool);
  const Counting counting;
  Held counted(c.images, c.outputs, layer.out_height, layer.out_width, 0xEE);
  const bool after = !layer.params.float_output;
  if (after)
    packed.run(in.planes, {c.pad, c.pad}, counted.planes, nullptr, layer.params.has_residual ? residual.planes : no_residual,
               {&counting}, scratch.data(), pool);
  // And over the residual: what is done twice would add it twice.
  const bool over = layer.params.has_residual && !layer.params.float_output;
  if (over) packed.run(in.planes, {c.pad, c.pad}, residual.planes, nullptr, residual.planes, {}, scratch.data(), pool);
  std::size_t i = 0;
  int64_t wrong = 0;
  for (int32_t n = 0; n < c.images; ++n)
    for (int32_t o = 0; o < c.outputs; ++o)
      for (int32_t y = 0; y < layer.out_height; ++y)
        for (int32_t x = 0; x < layer.out_width; ++x, ++i) {
          wrong += layer.params.float_output ? !(got[i] == expected.floats[i]) : out.at(n, o, y, x) != expected.bytes[i];
          wrong += over && residual.at(n, o, y, x) != expected.bytes[i];
          wrong += after && counted.at(n, o, y, x) != Counting::once(expected.bytes[i], o);
        }
  if (wrong > 0) {
    std::ostringstream text;
    text << packed.kernel() << ": " << wrong << " of " << i << " wrong at n" << c.images << " c" << c.channels << " " << c.height
         << "x" << c.width << " o" << c.outputs << " k" << c.kernel_h << "x" << c.kernel_w << " s" << c.stride_h << " p" << c.pad
         << " d" << c.dilation_h << " g" << c.groups << " threads " << threads << (layer.params.has_residual ? " residual" : "")
         << (layer.params.float_output ? " float" : "");
    testing::fail(__FILE__, __LINE__, text.str());
  }
  // Nothing behind the last plane.
  for (std::size_t j = 1; j <= kOverread; ++j) CHECK_EQ(int{out.memory.data()[out.memory.size() - j]}, 0xEE);
}

// expected_pixels: see ConvParams; small odd numbers choose the kernels with outputs along the vectors.
inline void check_layer(Layer& layer, const Expected& expected, Isa isa, ConvKind kind, int threads,
                        int64_t expected_pixels = 0) {
  layer.params.expected_pixels = expected_pixels;
  const Case& c = layer.shape;
  const ConvWeights weights{layer.weight.data(), layer.bias.data(), layer.multiplier.data()};
  const auto packed = pack_conv(layer.params, weights, isa, kind);
  const bool can_be_sparse =
      c.groups == 1 || (c.channels / c.groups % 4 == 0 && c.outputs / c.groups % 4 == 0 && !layer.params.float_output);
  if (kind != ConvKind::automatic) CHECK_EQ(packed->sparse(), kind == ConvKind::sparse && can_be_sparse);
  check_packed(layer, expected, *packed, threads);
}

}  // namespace
}  // namespace niwaki
