// Images as callers have them, made into what a network takes: NCHW, float32 or uint8.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "niwaki/niwaki.h"

namespace niwaki::capi {

// The float of each pixel value, for each channel: (pixel / 255 - mean) / std.
using PixelTable = std::vector<std::array<float, 256>>;

// From the metadata of a file, where it has "image.mean" and "image.std": numbers separated by commas, one for each channel. Throws
// Error(invalid_file) where they are no such numbers, or do not belong together.
std::optional<PixelTable> pixel_table(const std::map<std::string, std::string>& metadata);

struct ImageShape {
  int64_t images, channels, height, width;
};

// Writes an image batch as float32, NCHW. from: float32 or uint8 elements in `layout`; table: one entry for each channel, for uint8. Without
// a table, uint8 stays what it is.
void to_planes(const void* from, niwaki_type type, niwaki_layout layout, const ImageShape& shape, const PixelTable* table,
               void* to);

}  // namespace niwaki::capi
