#include "kernels/dynamic_linear/dynamic_linear.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_DYNAMIC_LINEAR(name, isa)               \
  namespace dynamic_linear_##name {                    \
    RowRange measure(const float* row, int64_t count); \
    void finish_rows(const RowsFinish& finish);        \
  }
#include "kernels/dynamic_linear/kernels.inc"
#undef NIWAKI_DYNAMIC_LINEAR

std::span<const DynamicLinearKernel> dynamic_linear_kernels() {
  static constexpr DynamicLinearKernel kernels[] = {
#define NIWAKI_DYNAMIC_LINEAR(name, isa) {#name, isa, dynamic_linear_##name::measure, dynamic_linear_##name::finish_rows},
#include "kernels/dynamic_linear/kernels.inc"
#undef NIWAKI_DYNAMIC_LINEAR
  };
  return kernels;
}

const DynamicLinearKernel& select_dynamic_linear(Isa isa) { return select_kernel(dynamic_linear_kernels(), isa); }

namespace {

// The product takes q - kMiddle, so that its sums are as small as they may be; what is missing is the same for the whole row.
constexpr int32_t kMiddle = 128;

QuantizeParams params_of(const RowRange& range) {
  if (!range.finite) return {0.0f, std::numeric_limits<float>::quiet_NaN(), 0};
  constexpr float kSmallestScale = 1e-30f;
  const float scale = std::max(2.0f * (range.high / 510.0f - range.low / 510.0f), kSmallestScale);
  return {1.0f / scale, scale, std::min(static_cast<int32_t>(std::nearbyintf(-range.low / scale)), 255)};
}

std::unique_ptr<PackedConv> pack_product(const DynamicLinearWeights& weights, Isa isa, ConvKind kind, int64_t expected_rows) {
  ConvParams params{};
  params.in_channels = weights.inputs;
  params.out_channels = weights.outputs;
  params.groups = params.kernel_h = params.kernel_w = params.stride_h = params.stride_w = params.dilation_h = params.dilation_w =
      1;
  params.in_zero = kMiddle;
  params.float_output = params.linear = true;
  params.expected_pixels = expected_rows;
  const std::vector<int32_t> no_bias(static_cast<std::size_t>(weights.outputs), 0);
  const std::vector<float> ones(static_cast<std::size_t>(weights.outputs), 1.0f);
  return pack_conv(params, {weights.weight, no_bias.data(), ones.data()}, isa, kind);
}

// Rows that go through together: their bytes and sums stay in the caches between the steps.
int64_t rows_together(int threads) { return int64_t{256} * threads; }

// Rows as the pixels of one image. The groups of a single one lie beside each other: no kernel of a linear layer needs them apart.
Planes planes_of_rows(int64_t rows, int32_t channels, uint8_t* data) {
  return {data, rows == 1 ? 4 : group_stride_of(rows), 1, channels, 1, static_cast<int32_t>(rows)};
}

Buffer copy_of(const void* from, std::size_t bytes) {
  Buffer buffer(bytes);
  std::copy_n(static_cast<const uint8_t*>(from), bytes, buffer.data());
  return buffer;
}

}  // namespace

DynamicLinear::DynamicLinear(const DynamicLinearWeights& weights, Isa isa, ConvKind kind, int64_t expected_rows)
    : quantize_(select_quantize(isa)),
      kernel_(select_dynamic_linear(isa)),
      inputs_(weights.inputs),
      outputs_(weights.outputs),
      product_(pack_product(weights, isa, kind, expected_rows)),
      weight_sums_(static_cast<std::size_t>(weights.outputs) * sizeof(int32_t)),
      weight_scale_(copy_of(weights.scale, static_cast<std::size_t>(weights.outputs) * sizeof(float))),
      bias_(copy_of(weights.bias, static_cast<std::size_t>(weights.outputs) * sizeof(float))) {
  for (int32_t o = 0; o < outputs_; ++o) {
    int32_t sum = 0;
    for (int32_t i = 0; i < inputs_; ++i) sum += weights.weight[int64_t{o} * inputs_ + i];
    weight_sums_.as<int32_t>()[o] = sum;
  }
}

int64_t DynamicLinear::bytes() const {
  return product_->bytes() + static_cast<int64_t>(weight_sums_.size() + weight_scale_.size() + bias_.size());
}

// Of each thread, for all the numbers of rows that run() takes together.
int64_t DynamicLinear::product_scratch(int64_t rows, int threads) const {
  const int64_t most = std::min(rows, rows_together(threads)), last = rows % rows_together(threads);
  const auto bytes = [this](int64_t count) {
    return product_->scratch_bytes(planes_of_rows(count, inputs_, nullptr), planes_of_rows(count, outputs_, nullptr));
  };
  return round_up(std::max(bytes(most), last > 0 ? bytes(last) : 0), 64);
}

int64_t DynamicLinear::scratch_bytes(int64_t rows, int threads) const {
  const int64_t most = std::min(rows, rows_together(threads));
  const int64_t shared =
      round_up(most * static_cast<int64_t>(sizeof(QuantizeParams)), 64) + planes_bytes(most, inputs_) + kOverread;
  return round_up(product_scratch(rows, threads) + div_up(shared, threads), 64);
}

int64_t DynamicLinear::most_scratch_bytes(int64_t rows, int threads) const {
  int64_t most = 0;
  for (int64_t count = 1; count <= std::min(rows, 2 * rows_together(threads)); ++count)
    most = std::max(most, scratch_bytes(count, threads));
  return most;
}

void DynamicLinear::run(const float* in, float* out, int64_t rows, uint8_t* scratch, ThreadPool& pool) const {
  const int64_t most = std::min(rows, rows_together(pool.threads()));
  uint8_t* const shared = scratch + pool.threads() * product_scratch(rows, pool.threads());
  auto* const params = reinterpret_cast<QuantizeParams*>(shared);
  uint8_t* const bytes = shared + round_up(most * static_cast<int64_t>(sizeof(QuantizeParams)), 64);
  for (int64_t row = 0; row < rows; row += most) {
    const int64_t count = std::min(most, rows - row);
    const float* from = in + row * inputs_;
    float* to = out + row * outputs_;
    const Planes planes = planes_of_rows(count, inputs_, bytes);
    constexpr int64_t kTogether = 16;  // of a vector of lanes
    pool.run(div_up(count, kTogether), [&](int64_t task, int) {
      const int64_t first = task * kTogether, last = std::min(first + kTogether, count);
      for (int64_t r = first; r < last; ++r) params[r] = params_of(kernel_.measure(from + r * inputs_, inputs_));
      if (count == 1) quantize_.quantize_row(from, inputs_, planes.data, params[0]);
      else
        quantize_.quantize_own_rows(from + first * inputs_, inputs_, {last - first, inputs_, planes.group_stride},
                                    planes.data + first * 4, params + first);
    });
    product_->run(planes, {}, planes_of_rows(count, outputs_, nullptr), to, Planes{}, {}, scratch, pool);
    pool.run(div_up(count, kTogether), [&](int64_t task, int) {
      const int64_t first = task * kTogether, last = std::min(first + kTogether, count);
      kernel_.finish_rows({to + first * outputs_, last - first, outputs_, params + first, weight_sums_.as<int32_t>(),
                           weight_scale_.as<float>(), bias_.as<float>()});
    });
  }
}

}  // namespace niwaki
