#include "kernels/grid_sample/grid_sample.h"

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_GRID_SAMPLE(name, isa) \
  namespace grid_sample_##name {      \
    void run(const GridRow& row);     \
  }
#include "kernels/grid_sample/kernels.inc"
#undef NIWAKI_GRID_SAMPLE

std::span<const GridSampleKernel> grid_sample_kernels() {
  static constexpr GridSampleKernel rows[] = {
#define NIWAKI_GRID_SAMPLE(name, isa) {#name, isa, grid_sample_##name::run},
#include "kernels/grid_sample/kernels.inc"
#undef NIWAKI_GRID_SAMPLE
  };
  return rows;
}

const GridSampleKernel& select_grid_sample(Isa isa) { return select_kernel(grid_sample_kernels(), isa); }

void grid_sample(const GridSampleKernel& kernel, const float* in, const float* grid, float* out, const GridSampleParams& p,
                 ThreadPool& pool) {
  for (int64_t image = 0; image < p.images; ++image) {
    const float* planes = in + image * p.channels * p.height * p.width;
    for_each_part(div_up(p.out_pixels, 16), 1, p.channels * 64, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
      const int64_t first = begin * 16, last = std::min(end * 16, p.out_pixels);
      kernel.run({p.mode, p.padding, p.align_corners, p.channels, p.height, p.width, planes,
                  grid + (image * p.out_pixels + first) * 2, out + image * p.channels * p.out_pixels + first, p.out_pixels,
                  last - first});
    });
  }
}

}  // namespace niwaki
