// Patches of images as columns.
#include <algorithm>

#include "kernels/common/partition.h"
#include "kernels/common/window_rows.h"
#include "kernels/movement/movement.h"

namespace niwaki {
namespace {

void unfold_row(const float* plane, float* to, int64_t tap, const UnfoldParams& p) {
  const int64_t tap_y = tap / p.kernel_w * p.dilation_h - p.pad_top, tap_x = tap % p.kernel_w * p.dilation_w - p.pad_left;
  const Inside inside = Inside::of(tap_x, p.stride_w, p.width, p.out_width);
  for (int64_t y = 0; y < p.out_height; ++y, to += p.out_width) {
    const int64_t in_y = y * p.stride_h + tap_y;
    if (in_y < 0 || in_y >= p.height) {
      std::fill_n(to, p.out_width, 0.0f);
      continue;
    }
    const float* from = plane + in_y * p.width + tap_x;
    std::fill_n(to, inside.first, 0.0f);
    for (int64_t x = inside.first; x < inside.last; ++x) to[x] = from[x * p.stride_w];
    std::fill(to + inside.last, to + p.out_width, 0.0f);
  }
}

}  // namespace

void unfold(const float* in, float* out, const UnfoldParams& p, ThreadPool& pool) {
  const int64_t taps = p.kernel_h * p.kernel_w, area = p.height * p.width, windows = p.out_height * p.out_width;
  for_each_part(p.images * p.channels * taps, 1, windows * 4, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    for (int64_t row = begin; row < end; ++row) unfold_row(in + row / taps * area, out + row * windows, row % taps, p);
  });
}

}  // namespace niwaki
