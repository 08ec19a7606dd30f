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

FloatPool::FloatPool(const FloatPoolParams& params)
    : params_(params),
      rows_(params.axes, params.function == PoolFunction::max ? -std::numeric_limits<float>::infinity() : 0.0f,
            WindowRows::Outside::left_out) {}

int64_t FloatPool::divisor_bytes() const {
  return params_.function == PoolFunction::average ? round_up(params_.axes.out[2] * 4, kCacheLine) : 0;
}

int64_t FloatPool::scratch_bytes() const { return divisor_bytes() + rows_.scratch_bytes(); }

// Elements that the window of output i counts along an axis.
int64_t FloatPool::counted(std::size_t axis, int64_t i) const {
  const WindowAxes& a = params_.axes;
  const int64_t start = i * a.stride[axis] - a.before[axis];
  const int64_t end = std::min(start + a.kernel[axis], a.in[axis] + params_.behind[axis]);
  if (params_.count_include_pad) return end - start;
  return std::min(end, a.in[axis]) - std::max<int64_t>(start, 0);
}

void FloatPool::find_divisors(int64_t index, float* divisors) const {
  const Axes3& out = params_.axes.out;
  const int64_t across = counted(0, index / out[2] / out[1]) * counted(1, index / out[2] % out[1]);
  for (int64_t x = 0; x < divisor_bytes() / 4; ++x) {
    const int64_t count = across * counted(2, std::min(x, out[2] - 1));
    divisors[x] = static_cast<float>(params_.divisor != 0 ? params_.divisor : count);
  }
}

void FloatPool::run(const FloatPoolKernel& kernel, const float* in, float* out, int64_t planes, uint8_t* scratch,
                    int64_t scratch_step, ThreadPool& pool) const {
  const WindowAxes& axes = params_.axes;
  const int64_t in_plane = volume(axes.in), out_plane = volume(axes.out);
  pool.run(planes * rows_.bands(), [&](int64_t task, int thread) {
    uint8_t* memory = scratch + thread * scratch_step;
    auto* divisors = reinterpret_cast<float*>(memory);
    const int64_t plane = task / rows_.bands();
    rows_.run(in + plane * in_plane, task % rows_.bands(), memory + divisor_bytes(),
              [&](const float* const* taps, int64_t count, int64_t index) {
                const TapRow row{taps, count, divisors, out + plane * out_plane + index, axes.out[2]};
                if (params_.function == PoolFunction::max) return kernel.max_row(row);
                find_divisors(index, divisors);
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
