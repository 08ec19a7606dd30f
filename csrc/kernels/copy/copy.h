// Operators that only move bytes of values that are grouped over an axis. Plain C++: whole planes go by memcpy, the rest lane by lane or byte
// by byte.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/layout.h"

namespace niwaki {

// Channels of the parts one after the other; all parts have out's images, height and width.
void concat_channels(std::span<const Planes> parts, const Planes& out, ThreadPool& pool);
// Out's channel i is channel start + i * step of the input.
void slice_channels(const Planes& in, const Planes& out, int64_t start, int64_t step, ThreadPool& pool);

// An axis of the pixels: there are outer * size * inner of them, images included.
struct PixelAxis {
  int64_t outer, size, inner;
};
// sizes: of the axis in each part.
void concat_pixels(std::span<const Planes> parts, std::span<const int64_t> sizes, const Planes& out, const PixelAxis& axis,
                   ThreadPool& pool);
// axis: of the input; `count` is its size in the output.
void slice_pixels(const Planes& in, const Planes& out, const PixelAxis& axis, int64_t start, int64_t step, int64_t count,
                  ThreadPool& pool);

struct PadParams {
  struct Axis {
    int64_t in, out, before;  // sizes, and what lies before the input
  };
  int64_t front;           // channels before the input
  std::vector<Axis> axes;  // of the pixels, the images first; at least one
  uint8_t value;
};
void pad(const Planes& in, const Planes& out, const PadParams& params, ThreadPool& pool);

// The same elements in row-major order under another shape.
void reshape(const Planes& in, const Planes& out, ThreadPool& pool);
// The same between groups and plain row-major bytes.
void reshape_to_rows(const Planes& in, uint8_t* out, ThreadPool& pool);
void reshape_from_rows(const uint8_t* in, const Planes& out, ThreadPool& pool);

// Where the elements of a value lie: element [i, j, ...] at the sum of offsets[0][i], offsets[1][j], ...
using Offsets = std::vector<std::vector<int64_t>>;
Offsets grouped_offsets(std::span<const int64_t> shape, int axis, int64_t group_stride);
Offsets row_major_offsets(std::span<const int64_t> shape);
// Copies byte by byte; both have the same sizes. Any permutation, between any layouts.
void copy_elements(const uint8_t* in, const Offsets& from, uint8_t* out, const Offsets& to, ThreadPool& pool);

// Channel g * (C / groups) + i of the input becomes channel i * groups + g: view (N, groups, C / groups, H, W), transpose,
// flatten.
void channel_shuffle(const Planes& in, const Planes& out, int32_t groups, ThreadPool& pool);

// Channel (c * rows + i) * columns + j of pixel (y, x) becomes channel c of pixel (y * rows + i, x * columns + j), as torch.pixel_shuffle has it.
void pixel_shuffle(const Planes& in, const Planes& out, int32_t rows, int32_t columns, ThreadPool& pool);

// Each pixel becomes scale_y rows of scale_x pixels.
void upsample_nearest(const Planes& in, const Planes& out, int32_t scale_y, int32_t scale_x, ThreadPool& pool);

}  // namespace niwaki
