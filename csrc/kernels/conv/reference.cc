// The kernels of a convolution in plain C++: what every other instruction set must equal to the last bit.
#include <array>
#include <cmath>
#include <cstring>

#include "kernels/common/scalar.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_scalar {
namespace {

constexpr int kLanes = 16, kOutputs = 4, kWideOutputs = 16, kSparseVectors = 2;

int32_t dot(const uint8_t* activations, const uint8_t* weights) {
  int32_t sum = 0;
  for (int i = 0; i < 4; ++i) sum += int32_t{activations[i]} * static_cast<int8_t>(weights[i]);
  return sum;
}

// One sum to one byte.
uint8_t finish(int32_t sum, float multiplier, const ConvOutput& output, const uint8_t* residual) {
  float t = static_cast<float>(sum) * multiplier;
  if (residual) {
    const float r = static_cast<float>(int32_t{*residual} - output.residual_zero) * output.residual_scale;
    t = t + r;
  }
  const int32_t zero = output.out_zero;
  return finish_scalar(t, zero, static_cast<int32_t>(output.low) + zero, static_cast<int32_t>(output.high) + zero);
}

void store(int32_t sum, float multiplier, const ConvOutput& output, int o, int pixel) {
  if (output.out_float) {
    output.out_float[o * output.float_stride + pixel] = static_cast<float>(sum) * multiplier;
    return;
  }
  const int64_t lane = int64_t{pixel} * 4 + o % 4;
  const uint8_t* residual = output.residual ? output.residual + o / 4 * output.residual_stride + lane : nullptr;
  output.out[o / 4 * output.out_stride + lane] = finish(sum, multiplier, output, residual);
}

}  // namespace

void dense(const DenseTile& tile) {
  for (int o = 0; o < tile.out_groups * 4; ++o) {
    for (int pixel = 0; pixel < tile.vectors * kLanes; ++pixel) {
      int32_t sum = tile.bias[o];
      for (int64_t row = 0; row < tile.rows; ++row)
        sum = wrapping_add(sum, dot(tile.panel + row * tile.row_bytes + pixel * 4, tile.weights + (row * kOutputs + o) * 4));
      store(sum, tile.multiplier[o], tile.output, o, pixel);
    }
  }
}

void sparse(const SparseTile& tile) {
  const uint16_t* offsets = tile.offsets;
  const uint8_t* values = tile.values;
  for (int i = 0; i < tile.outputs; ++i) {
    const int o = tile.order[i];
    int32_t* partial = tile.partial + o * kSparseVectors * kLanes;
    for (int pixel = 0; pixel < tile.vectors * kLanes; ++pixel) {
      int32_t sum = tile.first ? tile.bias[o] : partial[pixel];
      for (int block = 0; block < tile.counts[i]; ++block)
        sum = wrapping_add(sum, dot(tile.panel + int64_t{offsets[block]} * 8 + pixel * 4, values + block * 4));
      if (tile.last) store(sum, tile.multiplier[o], tile.output, o, pixel);
      else partial[pixel] = sum;
    }
    offsets += tile.counts[i];
    values += int64_t{tile.counts[i]} * 4;
  }
}

namespace {

// The four weights of an output of row `row`.
std::array<uint8_t, 4> wide_weights(const WideTile& tile, int64_t row, int o) {
  std::array<uint8_t, 4> four;
  for (int i = 0; i < 4; ++i) {
    const int byte = o * 4 + i, half = kWideOutputs * 2;
    if (!tile.table) four[i] = tile.weights[row * kWideOutputs * 4 + byte];
    else four[i] = static_cast<uint8_t>(tile.table[tile.weights[row * half + byte % half] >> (byte < half ? 0 : 4) & 15]);
  }
  return four;
}

}  // namespace

void wide(const WideTile& tile) {
  if (tile.unpacked) {
    for (int64_t row = 0; row < tile.rows; ++row)
      for (int o = 0; o < kWideOutputs; ++o)
        std::memcpy(tile.unpacked + (row * kWideOutputs + o) * 4, wide_weights(tile, row, o).data(), 4);
  }
  for (int pixel = 0; pixel < tile.pixels; ++pixel) {
    for (int o = 0; o < tile.valid; ++o) {
      int32_t& partial = tile.partial[pixel * kWideOutputs + o];
      int32_t sum = tile.first ? tile.bias[o] : partial;
      for (int64_t row = 0; row < tile.rows; ++row)
        sum = wrapping_add(sum, dot(tile.in + row * tile.row_bytes + pixel * 4, wide_weights(tile, row, o).data()));
      if (!tile.last) partial = sum;
      else if (tile.output.out_float)
        tile.output.out_float[pixel * tile.output.float_stride + o] = static_cast<float>(sum) * tile.multiplier[o];
      else store(sum, tile.multiplier[o], tile.output, o, pixel);
    }
  }
}

void pick(const PickTile& tile) {
  int32_t sums[kPickSets * kLanes] = {};
  const uint16_t* windows = tile.windows;
  const uint8_t *lanes = tile.lanes, *weights = tile.weights;
  for (int set = 0; set < kPickSets; ++set)
    for (int step = 0; step < 2 * tile.counts[set]; ++step, weights += kLanes * 4) {
      for (int lane = 0; lane < kLanes; ++lane) {
        int32_t& sum = sums[set * kLanes + lane];
        sum = wrapping_add(sum, dot(tile.in + (int64_t{windows[0]} + lanes[lane * 2 + step % 2]) * 4, weights + lane * 4));
      }
      ++windows;
      if (step % 2 == 1) lanes += kLanes * 2;
    }
  for (int o = 0; o < tile.valid; ++o) {
    const int32_t sum = wrapping_add(tile.bias[o], sums[tile.places[o]]);
    if (tile.output.out_float) tile.output.out_float[o] = static_cast<float>(sum) * tile.multiplier[o];
    else store(sum, tile.multiplier[o], tile.output, o, 0);
  }
}

void fill(const PanelFill& fill) {
  for (int group = 0; group < fill.groups; ++group) {
    const uint8_t* plane = fill.in + group * fill.group_stride;
    for (int tap = 0; tap < fill.kernel_h * fill.kernel_w; ++tap) {
      uint8_t* to = fill.panel + (int64_t{group} * fill.kernel_h * fill.kernel_w + tap) * fill.row_bytes;
      for (int pixel = 0; pixel < fill.vectors * kLanes; ++pixel) {
        const int32_t row = fill.top[pixel] + tap / fill.kernel_w * fill.dilation_h;
        const int32_t column = fill.left[pixel] + tap % fill.kernel_w * fill.dilation_w;
        const bool inside = row >= 0 && row < fill.in_height && column >= 0 && column < fill.in_width;
        const int64_t lane = fill.origin[pixel] + int64_t{row} * fill.in_width + column;
        std::memcpy(to + pixel * 4, inside ? plane + lane * 4 : reinterpret_cast<const uint8_t*>(&fill.zeros), 4);
      }
    }
  }
}

}  // namespace niwaki::conv_scalar
