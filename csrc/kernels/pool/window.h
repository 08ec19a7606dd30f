// Windows of average pooling, along one axis. Internal linkage, no library: files of one instruction set include this, too.
#pragma once

#include "kernels/pool/params.h"

namespace niwaki {
namespace {

struct PoolSpan {
  int32_t begin, end;  // inside the image
  int32_t counted;     // pixels that count: those inside, or inside the image grown by the padding
};

[[maybe_unused]] inline PoolSpan average_span(int32_t index, int32_t kernel, int32_t stride, int32_t before, int32_t after,
                                              int32_t size, bool with_padding) {
  const int64_t begin = int64_t{index} * stride - before, grown = int64_t{size} + after;
  const int64_t end = begin + kernel < grown ? begin + kernel : grown;
  const int64_t inner_begin = begin > 0 ? begin : 0, inner_end = end < size ? end : size;
  const int64_t inside = inner_end > inner_begin ? inner_end - inner_begin : 0;
  return {static_cast<int32_t>(inner_begin), static_cast<int32_t>(inner_begin + inside),
          static_cast<int32_t>(with_padding ? end - begin : inside)};
}

[[maybe_unused]] inline PoolSpan average_rows(const PoolGroup& group, const PoolParams& params, int32_t y) {
  return average_span(y, params.kernel_h, params.stride_h, params.pad_top, params.pad_bottom, group.in_height,
                      params.count_include_pad);
}

[[maybe_unused]] inline PoolSpan average_columns(const PoolGroup& group, const PoolParams& params, int32_t x) {
  return average_span(x, params.kernel_w, params.stride_w, params.pad_left, params.pad_right, group.in_width,
                      params.count_include_pad);
}

// A window that misses the image has no pixels: its sum is 0, whatever it is divided by.
[[maybe_unused]] inline float average_divisor(const PoolParams& params, const PoolSpan& rows, const PoolSpan& columns) {
  if (params.divisor > 0) return static_cast<float>(params.divisor);
  const int64_t count = int64_t{rows.counted} * columns.counted;
  return count > 0 ? static_cast<float>(count) : 1.0f;
}

[[maybe_unused]] inline PoolSpan adaptive_span(int32_t index, int32_t in, int32_t out) {
  const int64_t begin = int64_t{index} * in / out, end = (int64_t{index + 1} * in + out - 1) / out;
  return {static_cast<int32_t>(begin), static_cast<int32_t>(end), static_cast<int32_t>(end - begin)};
}

}  // namespace
}  // namespace niwaki
