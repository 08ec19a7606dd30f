#include "kernels/conv/taps.h"

#include <algorithm>
#include <cstddef>

#include "kernels/conv/rows.h"

namespace niwaki {

std::vector<TapRectangle> find_taps(const ConvParams& params, const int8_t* weight) {
  const int32_t height = params.kernel_h, width = params.kernel_w, taps = height * width, groups = (params.in_channels + 3) / 4;
  if (params.groups > 1 || taps == 1) return {{0, groups, 0, 0, height, width}};
  struct Bounds {
    int32_t top, bottom, left, right;
  };
  std::vector<Bounds> bounds(static_cast<std::size_t>(groups), {height, 0, width, 0});
  const auto whole = [&](const Bounds& of) { return of.top == 0 && of.left == 0 && of.bottom == height && of.right == width; };
  WeightRows source(params, weight);
  for (int32_t o = 0; o < params.out_channels && !std::all_of(bounds.begin(), bounds.end(), whole); ++o) {
    const int8_t* rows = source.of(o, 0, groups);
    for (std::size_t group = 0; group < bounds.size(); ++group, rows += taps * kRowBytes) {
      Bounds& of = bounds[group];
      for (int32_t tap = 0; tap < taps && !whole(of); ++tap) {
        if (weights_of_row(rows, tap) == 0) continue;
        of.top = std::min(of.top, tap / width);
        of.bottom = std::max(of.bottom, tap / width + 1);
        of.left = std::min(of.left, tap % width);
        of.right = std::max(of.right, tap % width + 1);
      }
    }
  }
  std::vector<TapRectangle> rectangles;
  for (int32_t group = 0; group < groups; ++group) {
    const Bounds& of = bounds[static_cast<std::size_t>(group)];
    if (of.bottom == 0) continue;  // no weights
    TapRectangle* before = rectangles.empty() ? nullptr : &rectangles.back();
    const TapRectangle now{group, group + 1, of.top, of.left, of.bottom - of.top, of.right - of.left};
    if (before != nullptr && before->end == group && before->top == now.top && before->left == now.left &&
        before->height == now.height && before->width == now.width)
      before->end = group + 1;
    else rectangles.push_back(now);
  }
  return rectangles;
}

int64_t rows_of(const std::vector<TapRectangle>& rectangles) {
  int64_t rows = 0;
  for (const TapRectangle& taps : rectangles) rows += int64_t{taps.end - taps.begin} * taps.height * taps.width;
  return rows;
}

}  // namespace niwaki
