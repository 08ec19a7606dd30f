// How quantized activations lie in memory: [channels / 4][images * height * width][4] bytes. See docs/architecture.md.
#pragma once

#include <cstdint>

namespace niwaki {

// A view of a quantized activation, rank 4 (rank 2 has height = width = 1).
struct Planes {
  uint8_t* data;         // 64-byte aligned, unless it begins at some image of a larger batch
  int64_t group_stride;  // bytes between groups of four channels: group_stride_of(pixels)
  int32_t images, channels, height, width;

  int64_t pixels() const { return int64_t{1} * images * height * width; }
  int32_t groups() const { return channels / 4 + (channels % 4 != 0); }
  uint8_t* group(int64_t index) const { return data + index * group_stride; }
};

// Bytes between the planes of two groups of `pixels` pixels: whole cache lines, and an odd number of them from 1 KiB on, because
// planes a power of two apart would fall into the same sets of the cache. One line more than the pixels need lies at the end of
// every plane of 1 KiB and more or is part of its last vector: whole 64-byte vectors may be read and written up to group_stride.
constexpr int64_t group_stride_of(int64_t pixels) {
  int64_t lines = (pixels * 4 + 63) / 64;
  if (lines == 0) lines = 1;
  if (lines >= 16 && lines % 2 == 0) lines += 1;
  return lines * 64;
}

// Kernels may read, never write, this many bytes past the last plane of an input.
inline constexpr int64_t kOverread = 128;

constexpr int64_t planes_bytes(int64_t pixels, int32_t channels) {
  return group_stride_of(pixels) * ((int64_t{channels} + 3) / 4);
}

}  // namespace niwaki
