#include "kernels/float_pool/float_pool.h"

#include <limits>

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_FLOAT_POOL(name, isa)        \
  namespace float_pool_##name {             \
    void max_row(const TapRow& row);        \
    void average_row(const TapRow& row);    \
    float max_region(const Region& region); \
    float sum_region(const Region& region); \
  }
#include "kernels/float_pool/kernels.inc"
#undef NIWAKI_FLOAT_POOL

std::span<const FloatPoolKernel> float_pool_kernels() {
  static constexpr FloatPoolKernel rows[] = {
#define NIWAKI_FLOAT_POOL(name, isa) \
  {#name,                            \
   isa,                              \
   float_pool_##name::max_row,       \
   float_pool_##name::average_row,   \
   float_pool_##name::max_region,    \
   float_pool_##name::sum_region},
#include "kernels/float_pool/kernels.inc"
#undef NIWAKI_FLOAT_POOL
  };
  return rows;
}

const FloatPoolKernel& select_float_pool(Isa isa) { return select_kernel(float_pool_kernels(), isa); }

namespace {

WindowRows rows_of(const FloatPoolParams& params) {
  const bool max = params.function == PoolFunction::max;
  return WindowRows(params.axes, max ? -std::numeric_limits<float>::infinity() : 0.0f);
}

// Elements that the window of output i counts along an axis.
int64_t counted(const FloatPoolParams& params, std::size_t axis, int64_t i) {
  const WindowAxes& a = params.axes;
  const int64_t start = i * a.stride[axis] - a.before[axis];
  const int64_t end = std::min(start + a.kernel[axis], a.in[axis] + params.behind[axis]);
  if (params.count_include_pad) return end - start;
  return std::min(end, a.in[axis]) - std::max<int64_t>(start, 0);
}

int64_t divisor_floats(const FloatPoolParams& params) { return round_up(params.axes.out[2], 16); }

}  // namespace

int64_t float_pool_scratch(const FloatPoolParams& params) {
  const int64_t divisors = params.function == PoolFunction::average ? divisor_floats(params) * 4 : 0;
  return divisors + rows_of(params).scratch_bytes();
}

void float_pool(const FloatPoolKernel& kernel, const float* in, float* out, int64_t planes, const FloatPoolParams& params,
                uint8_t* scratch, int64_t scratch_step, ThreadPool& pool) {
  const WindowRows rows = rows_of(params);
  const WindowAxes& axes = params.axes;
  const int64_t in_plane = volume(axes.in), out_plane = volume(axes.out);
  pool.run(planes * rows.bands(), [&](int64_t task, int thread) {
    uint8_t* memory = scratch + thread * scratch_step;
    auto* divisors = reinterpret_cast<float*>(memory);
    if (params.function == PoolFunction::average) memory += divisor_floats(params) * 4;
    const int64_t plane = task / rows.bands();
    rows.run(in + plane * in_plane, task % rows.bands(), memory, [&](const float* const* taps, int64_t index) {
      const TapRow row{taps, axes.taps(), divisors, out + plane * out_plane + index, axes.out[2]};
      if (params.function == PoolFunction::max) return kernel.max_row(row);
      const int64_t y = index / axes.out[2] % axes.out[1], z = index / axes.out[2] / axes.out[1];
      const int64_t above = counted(params, 0, z) * counted(params, 1, y);
      for (int64_t x = 0; x < divisor_floats(params); ++x) {
        const int64_t count = params.divisor != 0 ? params.divisor : above * counted(params, 2, std::min(x, axes.out[2] - 1));
        divisors[x] = static_cast<float>(count);
      }
      kernel.average_row(row);
    });
  });
}

void float_adaptive_pool(const FloatPoolKernel& kernel, PoolFunction function, const float* in, float* out, int64_t planes,
                         const Axes3& in_sizes, const Axes3& out_sizes, ThreadPool& pool) {
  const int64_t in_plane = volume(in_sizes), out_plane = volume(out_sizes);
  const auto begin_of = [&](std::size_t axis, int64_t i) { return i * in_sizes[axis] / out_sizes[axis]; };
  const auto end_of = [&](std::size_t axis, int64_t i) { return div_up((i + 1) * in_sizes[axis], out_sizes[axis]); };
  for_each_part(planes, 1, (in_plane + out_plane) * 4, pool, [&](int64_t first, int64_t last, int64_t, int64_t) {
    for (int64_t plane = first; plane < last; ++plane) {
      float* to = out + plane * out_plane;
      for (int64_t z = 0; z < out_sizes[0]; ++z) {
        for (int64_t y = 0; y < out_sizes[1]; ++y) {
          for (int64_t x = 0; x < out_sizes[2]; ++x) {
            const int64_t z0 = begin_of(0, z), y0 = begin_of(1, y), x0 = begin_of(2, x);
            const Region region{in + plane * in_plane + (z0 * in_sizes[1] + y0) * in_sizes[2] + x0,
                                end_of(0, z) - z0,
                                end_of(1, y) - y0,
                                end_of(2, x) - x0,
                                in_sizes[1] * in_sizes[2],
                                in_sizes[2]};
            if (function == PoolFunction::max) *to++ = kernel.max_region(region);
            else *to++ = kernel.sum_region(region) / static_cast<float>(region.depth * region.height * region.width);
          }
        }
      }
    }
  });
}

}  // namespace niwaki
