// Operators that only move bytes. Plain C++: whole planes go by memcpy, the rest lane by lane or byte by byte.
#pragma once

#include <cstdint>
#include <span>

#include "base/thread_pool.h"
#include "kernels/layout.h"

namespace niwaki {

// Channels of the parts one after the other; all parts have out's images, height and width.
void concat(std::span<const Planes> parts, const Planes& out, ThreadPool& pool);

struct SliceParams {
  int32_t axis;         // 1 channels, 2 rows, 3 columns
  int32_t start, step;  // 0 <= start < size of the axis (for a non-empty output), step >= 1; out's own size says how many
};
void slice(const Planes& in, const Planes& out, const SliceParams& params, ThreadPool& pool);

struct PadParams {
  int32_t front, top, left;  // channels, rows, columns before the input; out's size says how many behind. Never negative.
  uint8_t value;
};
void pad(const Planes& in, const Planes& out, const PadParams& params, ThreadPool& pool);

// The same elements in NCHW order under another shape with the same images.
void reshape(const Planes& in, const Planes& out, ThreadPool& pool);

// Channel g * (C / groups) + i of the input becomes channel i * groups + g: view (N, groups, C / groups, H, W), transpose,
// flatten.
void channel_shuffle(const Planes& in, const Planes& out, int32_t groups, ThreadPool& pool);

// Each pixel becomes scale_y rows of scale_x pixels.
void upsample_nearest(const Planes& in, const Planes& out, int32_t scale_y, int32_t scale_x, ThreadPool& pool);

}  // namespace niwaki
