#include "kernels/interpolate/interpolate.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/partition.h"
#include "kernels/common/row_slots.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_INTERPOLATE(name, isa)        \
  namespace interpolate_##name {             \
    void gather_row(const GatherRow& row);   \
    void blend_rows(const BlendRows& blend); \
  }
#include "kernels/interpolate/kernels.inc"
#undef NIWAKI_INTERPOLATE

std::span<const InterpolateKernel> interpolate_kernels() {
  static constexpr InterpolateKernel rows[] = {
#define NIWAKI_INTERPOLATE(name, isa) {#name, isa, interpolate_##name::gather_row, interpolate_##name::blend_rows},
#include "kernels/interpolate/kernels.inc"
#undef NIWAKI_INTERPOLATE
  };
  return rows;
}

const InterpolateKernel& select_interpolate(Isa isa) { return select_kernel(interpolate_kernels(), isa); }

namespace {

struct AxisParams {
  Interpolation mode;
  int64_t in, out;
  bool align_corners;
  double scale;
  bool small;  // a small image: see nearest_of

  // Input pixels between outputs.
  float step() const {
    if (align_corners) return out > 1 ? static_cast<float>(in - 1) / static_cast<float>(out - 1) : 0.0f;
    return scale > 0.0 ? static_cast<float>(1.0 / scale) : static_cast<float>(in) / static_cast<float>(out);
  }
  // Where output i lies between the centres of input pixels. Product and difference are rounded once, together, as torch does on every
  // CPU that can: the place decides which pixels are read.
  float place(int64_t i) const {
    const auto output = static_cast<float>(i);
    return align_corners ? step() * output : std::fma(step(), output + 0.5f, -0.5f);
  }
  // The pixel at or before a place, or the last one; -1 for places before the first centre.
  int64_t below(float place) const {
    return place < static_cast<float>(in) ? std::min(static_cast<int64_t>(std::floor(place)), in - 1) : in - 1;
  }
  // How far a place is from the pixel below it.
  static float beyond(float place, int64_t below) { return std::clamp(place - static_cast<float>(below), 0.0f, 1.0f); }
};

// Torch has another rule for small images of two axes, which matters where the scale that was asked for is not that of the sizes: 10 pixels
// by 1.05 are 10 pixels. In a small image output i is then pixel i, in another one pixel floor(i / 1.05).
int64_t nearest_of(const AxisParams& axis, int64_t i) {
  if (axis.mode == Interpolation::nearest) {
    if (axis.small && axis.out == axis.in) return i;
    if (axis.small && axis.out == 2 * axis.in) return i / 2;
    return axis.below(static_cast<float>(i) * axis.step());
  }
  const double rounded = static_cast<double>(std::max(axis.place(i), 0.0f)) + 0.5;
  return axis.below(static_cast<float>(rounded));
}

// Weights of a piecewise cubic (a = -0.75) for the distances 1 + t, t, 1 - t, 2 - t.
std::array<float, 4> cubic_weights(float t) {
  constexpr float a = -0.75f;
  const auto near = [](float x) { return ((a + 2.0f) * x - (a + 3.0f)) * x * x + 1.0f; };
  const auto far = [](float x) { return ((a * x - 5.0f * a) * x + 8.0f * a) * x - 4.0f * a; };
  const float rest = 1.0f - t;
  return {far(t + 1.0f), near(t), near(rest), far(rest + 1.0f)};
}

AxisTaps table_of(const AxisParams& axis) {
  AxisTaps taps{interpolation_taps_of(axis.mode), axis.out, {}, {}};
  taps.indices.resize(static_cast<std::size_t>(taps.taps * axis.out));
  taps.weights.resize(taps.indices.size(), 1.0f);
  const auto set = [&](int64_t tap, int64_t i, int64_t index, float weight) {
    taps.indices[static_cast<std::size_t>(tap * axis.out + i)] = static_cast<int32_t>(index);
    taps.weights[static_cast<std::size_t>(tap * axis.out + i)] = weight;
  };
  for (int64_t i = 0; i < axis.out; ++i) {
    if (axis.mode == Interpolation::linear && axis.in == axis.out) {
      set(0, i, i, 1.0f);
      set(1, i, i, 0.0f);
    } else if (axis.mode == Interpolation::linear) {
      const float place = std::max(axis.place(i), 0.0f);
      const int64_t below = axis.below(place);
      const float beyond = AxisParams::beyond(place, below);
      set(0, i, below, 1.0f - beyond);
      set(1, i, std::min(below + 1, axis.in - 1), beyond);
    } else if (axis.mode == Interpolation::cubic) {
      const float place = axis.place(i);
      const int64_t below = axis.below(place);
      const std::array<float, 4> weights = cubic_weights(AxisParams::beyond(place, below));
      for (int64_t tap = 0; tap < kMostTaps; ++tap)
        set(tap, i, std::clamp<int64_t>(below + tap - 1, 0, axis.in - 1), weights[static_cast<std::size_t>(tap)]);
    } else {
      set(0, i, nearest_of(axis, i), 1.0f);
    }
  }
  return taps;
}

int64_t row_floats(const InterpolateParams& params) { return round_up(params.out[2], 16); }

}  // namespace

int64_t interpolation_taps_of(Interpolation mode) {
  return mode == Interpolation::linear ? 2 : mode == Interpolation::cubic ? kMostTaps : 1;
}

std::array<AxisTaps, 3> interpolation_taps(const InterpolateParams& params) {
  const bool small = params.spatial == 2 && params.out[1] + params.out[2] <= 128;
  std::array<AxisTaps, 3> axes;
  for (std::size_t i = 0; i < 3; ++i) {
    const bool missing = static_cast<int>(i) < 3 - params.spatial;
    axes[i] = table_of({missing ? Interpolation::nearest : params.mode, params.in[i], params.out[i], params.align_corners,
                        params.scales[i], small});
  }
  return axes;
}

Interpolator::Interpolator(const InterpolateParams& params) : params_(params), axes_(interpolation_taps(params)) {}

int64_t Interpolator::table_bytes() const {
  std::size_t bytes = 0;
  for (const AxisTaps& axis : axes_) bytes += axis.indices.size() * (sizeof(int32_t) + sizeof(float));
  return static_cast<int64_t>(bytes);
}

// Rows that were interpolated along the width, one for each pair of taps of depth and height, and a row for each tap of the depth.
int64_t Interpolator::scratch_bytes(const InterpolateParams& params) {
  const int64_t taps = interpolation_taps_of(params.mode), deep = params.spatial == 3 ? taps : 1,
                high = params.spatial > 1 ? taps : 1;
  return taps == 1 ? 0 : (deep * high + deep) * row_floats(params) * 4;
}

void Interpolator::copy_rows(const float* in, float* out, int64_t begin, int64_t end) const {
  const int64_t width = params_.out[2];
  const float* last = nullptr;
  for (int64_t row = begin; row < end; ++row) {
    const int64_t y = row % params_.out[1], z = row / params_.out[1] % params_.out[0],
                  plane = row / params_.out[1] / params_.out[0];
    const float* from =
        in + ((plane * params_.in[0] + axes_[0].index(0, z)) * params_.in[1] + axes_[1].index(0, y)) * params_.in[2];
    float* to = out + row * width;
    if (from == last) std::copy_n(to - width, width, to);
    else
      for (int64_t x = 0; x < width; ++x) to[x] = from[axes_[2].index(0, x)];
    last = from;
  }
}

// Rows of the input, interpolated along the width, that rows of the output share. There are as many as a row of the output needs.
class Interpolator::WideRows {
 public:
  WideRows(const Interpolator& of, const InterpolateKernel& kernel, const float* in, float* memory)
      : of_(of),
        kernel_(kernel),
        in_(in),
        memory_(memory),
        count_(static_cast<std::size_t>(of.axes_[0].taps * of.axes_[1].taps)),
        slots_(count_) {}

  // Of the rows `wanted`, one for each pair of taps.
  std::span<const float* const> find(const std::array<int64_t, kMostRows>& wanted) {
    slots_.find(wanted, [&](std::size_t i, std::size_t slot, bool is_new) {
      float* row = memory_ + static_cast<int64_t>(slot) * row_floats(of_.params_);
      found_[i] = row;
      if (!is_new) return;
      const AxisTaps& wide = of_.axes_[2];
      kernel_.gather_row(
          {in_ + wanted[i] * of_.params_.in[2], wide.indices.data(), wide.weights.data(), wide.taps, row, of_.params_.out[2]});
    });
    return std::span(found_).first(count_);
  }

 private:
  const Interpolator& of_;
  const InterpolateKernel& kernel_;
  const float* in_;
  float* memory_;
  std::size_t count_;
  RowSlots<kMostRows> slots_;
  std::array<const float*, kMostRows> found_;
};

void Interpolator::blend_rows(const InterpolateKernel& kernel, const float* in, float* out, int64_t begin, int64_t end,
                              uint8_t* scratch) const {
  const auto &deep = axes_[0], &high = axes_[1];
  const int64_t width = params_.out[2];
  auto* memory = reinterpret_cast<float*>(scratch);
  WideRows wide_rows(*this, kernel, in, memory);
  float* high_rows = memory + deep.taps * high.taps * row_floats(params_);
  for (int64_t row = begin; row < end; ++row) {
    const int64_t y = row % params_.out[1], z = row / params_.out[1] % params_.out[0],
                  plane = row / params_.out[1] / params_.out[0];
    std::array<int64_t, kMostRows> wanted;
    for (int64_t i = 0; i < deep.taps; ++i)
      for (int64_t j = 0; j < high.taps; ++j)
        wanted[static_cast<std::size_t>(i * high.taps + j)] =
            (plane * params_.in[0] + deep.index(i, z)) * params_.in[1] + high.index(j, y);
    const std::span<const float* const> found = wide_rows.find(wanted);
    const std::array<float, kMostTaps> high_weights = high.weights_of(y), deep_weights = deep.weights_of(z);
    float* to = out + row * width;
    if (deep.taps == 1) {
      kernel.blend_rows({found.data(), high_weights.data(), high.taps, to, width});
      continue;
    }
    std::array<const float*, kMostTaps> blended;
    for (int64_t i = 0; i < deep.taps; ++i) {
      kernel.blend_rows(
          {found.data() + i * high.taps, high_weights.data(), high.taps, high_rows + i * row_floats(params_), width});
      blended[static_cast<std::size_t>(i)] = high_rows + i * row_floats(params_);
    }
    kernel.blend_rows({blended.data(), deep_weights.data(), deep.taps, to, width});
  }
}

void Interpolator::run(const InterpolateKernel& kernel, const float* in, float* out, int64_t planes, uint8_t* scratch,
                       int64_t scratch_step, ThreadPool& pool) const {
  const int64_t rows = planes * params_.out[0] * params_.out[1];
  // A few tasks for each thread, of neighbouring rows, which share what is read.
  const int64_t tasks = std::min(rows, pool.threads() == 1 ? 1 : int64_t{4} * pool.threads());
  pool.run(tasks, [&](int64_t task, int thread) {
    const int64_t begin = rows * task / tasks, end = rows * (task + 1) / tasks;
    if (axes_[2].taps == 1) copy_rows(in, out, begin, end);
    else blend_rows(kernel, in, out, begin, end, scratch + thread * scratch_step);
  });
}

}  // namespace niwaki
