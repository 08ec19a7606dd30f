// What a file's metadata says of images, for the C library and for Python alike.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace niwaki {

// A pixel becomes (pixel / 255 - mean) / std, with those of its channel.
struct ImageWords {
  std::vector<float> mean, std;  // as many of each, all finite, std above 0
};

// From "image.mean" and "image.std", numbers separated by commas; nothing where neither is there. Throws Error(invalid_file) where they are
// no such numbers, or do not belong together.
std::optional<ImageWords> image_words(const std::map<std::string, std::string>& metadata);

}  // namespace niwaki
