#include "capi/image.h"

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/status.h"

namespace niwaki::capi {
namespace {

// 1.5 or 1e-3, whatever the locale of the process is; no number is that long.
bool parse_number(const std::string& text, float& number) {
  double value = 0.0;
  int exponent = 0, digits = 0;
  const char* at = text.c_str();
  const bool negative = *at == '-';
  at += negative;
  bool fraction = false;
  for (; (*at >= '0' && *at <= '9') || (*at == '.' && !fraction); ++at) {
    if (*at == '.') {
      fraction = true;
      continue;
    }
    value = value * 10 + (*at - '0');
    exponent -= fraction;
    ++digits;
  }
  if (digits == 0 || digits > 18) return false;
  if (*at == 'e' || *at == 'E') {
    char* end = nullptr;
    const long given = std::strtol(at + 1, &end, 10);
    if (end == at + 1 || given < -40 || given > 40) return false;
    exponent += static_cast<int>(given);
    at = end;
  }
  if (*at != '\0') return false;
  value = exponent < 0 ? value / std::pow(10.0, -exponent) : value * std::pow(10.0, exponent);
  number = static_cast<float>(negative ? -value : value);
  return std::isfinite(number);
}

std::vector<float> numbers(const std::string& key, const std::string& text) {
  std::vector<float> result;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    float number = 0.0f;
    if (!parse_number(text.substr(begin, end - begin), number))
      throw Error(Status::invalid_file,
                  "The file's '" + key + "' is not a list of numbers such as 0.5,0.25; save the network again.");
    result.push_back(number);
    begin = end + 1;
  }
  return result;
}

// Writes planes of one image; read(pixel, channel) gives an element of it.
template <typename Read>
void write_planes(const ImageShape& shape, int64_t image, const Read& read, float* to) {
  const int64_t pixels = shape.height * shape.width;
  float* plane = to + image * shape.channels * pixels;
  for (int64_t channel = 0; channel < shape.channels; ++channel, plane += pixels)
    for (int64_t pixel = 0; pixel < pixels; ++pixel) plane[pixel] = read(pixel, channel);
}

}  // namespace

std::optional<PixelTable> pixel_table(const std::map<std::string, std::string>& metadata) {
  const auto mean_text = metadata.find("image.mean"), std_text = metadata.find("image.std");
  if (mean_text == metadata.end() && std_text == metadata.end()) return std::nullopt;
  if (mean_text == metadata.end() || std_text == metadata.end())
    throw Error(Status::invalid_file, "The file has only one of 'image.mean' and 'image.std'; save the network again.");
  const auto mean = numbers("image.mean", mean_text->second), std = numbers("image.std", std_text->second);
  if (mean.size() != std.size())
    throw Error(Status::invalid_file, "The file's 'image.mean' and 'image.std' have different lengths; save the network again.");
  PixelTable table(mean.size());
  for (size_t channel = 0; channel < mean.size(); ++channel) {
    if (!(std[channel] > 0.0f))
      throw Error(Status::invalid_file, "The file's 'image.std' is not positive; save the network again.");
    for (int pixel = 0; pixel < 256; ++pixel)
      table[channel][static_cast<size_t>(pixel)] = (static_cast<float>(pixel) / 255.0f - mean[channel]) / std[channel];
  }
  return table;
}

void to_planes(const void* from, niwaki_type type, niwaki_layout layout, const ImageShape& shape, const PixelTable* table,
               float* to) {
  const int64_t channels = shape.channels, pixels = shape.height * shape.width;
  const int64_t pixel_step = layout == NIWAKI_NHWC ? channels : 1, channel_step = layout == NIWAKI_NHWC ? 1 : pixels;
  for (int64_t image = 0; image < shape.images; ++image) {
    const int64_t first = image * channels * pixels;
    if (type == NIWAKI_UINT8) {
      const auto* bytes = static_cast<const uint8_t*>(from) + first;
      write_planes(
          shape, image,
          [&](int64_t pixel, int64_t channel) {
            return (*table)[static_cast<size_t>(channel)][bytes[pixel * pixel_step + channel * channel_step]];
          },
          to);
    } else {
      const auto* floats = static_cast<const float*>(from) + first;
      write_planes(
          shape, image, [&](int64_t pixel, int64_t channel) { return floats[pixel * pixel_step + channel * channel_step]; }, to);
    }
  }
}

}  // namespace niwaki::capi
