#include "kernels/resize/resize.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/partition.h"
#include "kernels/common/row_slots.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_RESIZE(name, isa)        \
  namespace resize_##name {             \
    void columns(const ResizeColumns&); \
    void rows(const ResizeRows&);       \
    void take(const ResizeTake&);       \
  }
#include "kernels/resize/kernels.inc"
#undef NIWAKI_RESIZE

std::span<const ResizeKernel> resize_kernels() {
  static constexpr ResizeKernel rows[] = {
#define NIWAKI_RESIZE(name, isa) {#name, isa, resize_##name::columns, resize_##name::rows, resize_##name::take},
#include "kernels/resize/kernels.inc"
#undef NIWAKI_RESIZE
  };
  return rows;
}

const ResizeKernel& select_resize(Isa isa) { return select_kernel(resize_kernels(), isa); }

std::vector<int32_t> weight_pairs(const AxisTaps& taps) {
  constexpr int32_t kOne = 1 << kWeightBits;
  std::vector<int32_t> pairs(static_cast<std::size_t>(taps.taps / 2 * taps.outputs));
  for (int64_t i = 0; i < taps.outputs && !pairs.empty(); ++i) {
    const std::array<float, kMostTaps> weights = taps.weights_of(i);
    std::array<int32_t, kMostTaps> whole{};
    std::size_t largest = 0;
    int32_t left = kOne;
    for (std::size_t t = 0; t < weights.size(); ++t) {
      whole[t] = static_cast<int32_t>(std::nearbyintf(weights[t] * static_cast<float>(kOne)));
      left -= whole[t];
      if (whole[t] > whole[largest]) largest = t;
    }
    whole[largest] += left;
    for (std::size_t t = 0; t < static_cast<std::size_t>(taps.taps); t += 2)
      pairs[t / 2 * static_cast<std::size_t>(taps.outputs) + static_cast<std::size_t>(i)] =
          static_cast<int32_t>((static_cast<uint32_t>(whole[t]) & 0xffff) | static_cast<uint32_t>(whole[t + 1]) << 16);
  }
  return pairs;
}

Resizer::Resizer(const InterpolateParams& params) : in_height_(params.in[1]), in_width_(params.in[2]) {
  std::array<AxisTaps, 3> axes = interpolation_taps(params);
  high_ = std::move(axes[1]), wide_ = std::move(axes[2]);
  // An axis that is not there has one tap, where the other has pairs: the second one adds nothing.
  if (high_.taps < wide_.taps) {
    high_.taps = wide_.taps;
    high_.indices.resize(static_cast<std::size_t>(high_.taps * high_.outputs), 0);
    high_.weights.resize(high_.indices.size(), 0.0f);
  }
  high_weights_ = weight_pairs(high_), wide_weights_ = weight_pairs(wide_);
}

int64_t Resizer::table_bytes() const {
  std::size_t bytes = 0;
  for (const AxisTaps* axis : {&high_, &wide_}) bytes += axis->indices.size() * (sizeof(int32_t) + sizeof(float));
  return static_cast<int64_t>(bytes + (high_weights_.size() + wide_weights_.size()) * sizeof(int32_t));
}

namespace {

constexpr int64_t kPixelBytes = 8;  // of words

int64_t row_bytes(int64_t width) { return round_up(width, 16) * kPixelBytes; }

}  // namespace

int64_t Resizer::scratch_bytes(const InterpolateParams& params) {
  const int64_t taps = interpolation_taps_of(params.mode);
  return taps == 1 ? 0 : taps * row_bytes(params.out[2]);
}

int64_t Resizer::row_from(int64_t tap, int64_t row) const {
  return row / high_.outputs * in_height_ + high_.index(tap, row % high_.outputs);
}

void Resizer::take_rows(const ResizeKernel& kernel, const Group& group, int64_t begin, int64_t end) const {
  const int64_t bytes = wide_.outputs * 4;
  int64_t before = -1;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t from = row_from(0, row);
    uint8_t* to = group.out + row * bytes;
    if (from == before) std::copy_n(to - bytes, bytes, to);
    else kernel.take({group.in + from * in_width_ * 4, wide_.indices.data(), to, wide_.outputs});
    before = from;
  }
}

void Resizer::blend_rows(const ResizeKernel& kernel, const Group& group, int64_t begin, int64_t end, const ResizeScales& scales,
                         uint8_t* scratch) const {
  const int64_t width = wide_.outputs, pairs = wide_.taps / 2;
  const auto count = static_cast<std::size_t>(wide_.taps);
  const float scale = scales.scale * std::ldexp(1.0f, -(kWeightBits + kWordBits));
  RowSlots<kMostTaps> slots(count);
  std::array<int64_t, kMostTaps> wanted{};
  std::array<const uint8_t*, kMostTaps> words{};
  std::array<int32_t, kMostTaps / 2> weights{};
  for (int64_t row = begin; row < end; ++row) {
    for (std::size_t t = 0; t < count; ++t) wanted[t] = row_from(static_cast<int64_t>(t), row);
    slots.find(wanted, [&](std::size_t tap, std::size_t slot, bool is_new) {
      uint8_t* to = scratch + static_cast<int64_t>(slot) * row_bytes(width);
      words[tap] = to;
      if (is_new)
        kernel.columns({group.in + wanted[tap] * in_width_ * 4, wide_.indices.data(), wide_weights_.data(), pairs, to, width});
    });
    const int64_t y = row % high_.outputs;
    for (int64_t pair = 0; pair < pairs; ++pair)
      weights[static_cast<std::size_t>(pair)] = high_weights_[static_cast<std::size_t>(pair * high_.outputs + y)];
    kernel.rows(
        {words.data(), weights.data(), pairs, scales.in_zero, scales.out_zero, scale, group.out + row * width * 4, width});
  }
}

void Resizer::run(const ResizeKernel& kernel, const Planes& in, const Planes& out, const ResizeScales& scales, uint8_t* scratch,
                  int64_t scratch_step, ThreadPool& pool) const {
  const int64_t rows = int64_t{1} * out.images * out.height;
  for_each_part_of_thread(rows, out.groups(), int64_t{4} * out.width, pool,
                          [&](int64_t begin, int64_t end, int64_t first, int64_t last, int thread) {
                            for (int64_t index = first; index < last; ++index) {
                              const Group group{in.group(index), out.group(index)};
                              if (wide_.taps == 1) take_rows(kernel, group, begin, end);
                              else blend_rows(kernel, group, begin, end, scales, scratch + thread * scratch_step);
                            }
                          });
}

}  // namespace niwaki
