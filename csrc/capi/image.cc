#include "capi/image.h"

#include "file/image_words.h"

namespace niwaki::capi {
namespace {

// Writes planes of one image; read(pixel, channel) gives an element of it.
template <typename Element, typename Read>
void write_planes(const ImageShape& shape, int64_t image, const Read& read, void* to) {
  const int64_t pixels = shape.height * shape.width;
  Element* plane = static_cast<Element*>(to) + image * shape.channels * pixels;
  for (int64_t channel = 0; channel < shape.channels; ++channel, plane += pixels)
    for (int64_t pixel = 0; pixel < pixels; ++pixel) plane[pixel] = read(pixel, channel);
}

}  // namespace

std::optional<PixelTable> pixel_table(const std::map<std::string, std::string>& metadata) {
  const std::optional<ImageWords> words = image_words(metadata);
  if (!words) return std::nullopt;
  PixelTable table(words->mean.size());
  for (size_t channel = 0; channel < table.size(); ++channel)
    for (int pixel = 0; pixel < 256; ++pixel)
      table[channel][static_cast<size_t>(pixel)] =
          (static_cast<float>(pixel) / 255.0f - words->mean[channel]) / words->std[channel];
  return table;
}

void to_planes(const void* from, niwaki_type type, niwaki_layout layout, const ImageShape& shape, const PixelTable* table,
               void* to) {
  const int64_t channels = shape.channels, pixels = shape.height * shape.width;
  const int64_t pixel_step = layout == NIWAKI_NHWC ? channels : 1, channel_step = layout == NIWAKI_NHWC ? 1 : pixels;
  for (int64_t image = 0; image < shape.images; ++image) {
    const int64_t first = image * channels * pixels;
    const auto* bytes = static_cast<const uint8_t*>(from) + first;
    const auto* floats = static_cast<const float*>(from) + first;
    const auto place = [&](int64_t pixel, int64_t channel) { return pixel * pixel_step + channel * channel_step; };
    if (type != NIWAKI_UINT8)
      write_planes<float>(shape, image, [&](int64_t pixel, int64_t channel) { return floats[place(pixel, channel)]; }, to);
    else if (table == nullptr)
      write_planes<uint8_t>(shape, image, [&](int64_t pixel, int64_t channel) { return bytes[place(pixel, channel)]; }, to);
    else
      write_planes<float>(
          shape, image,
          [&](int64_t pixel, int64_t channel) { return (*table)[static_cast<size_t>(channel)][bytes[place(pixel, channel)]]; },
          to);
  }
}

}  // namespace niwaki::capi
