#include "file/image_words.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "base/status.h"

namespace niwaki {
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

}  // namespace

std::optional<ImageWords> image_words(const std::map<std::string, std::string>& metadata) {
  const auto mean_text = metadata.find("image.mean"), std_text = metadata.find("image.std");
  if (mean_text == metadata.end() && std_text == metadata.end()) return std::nullopt;
  if (mean_text == metadata.end() || std_text == metadata.end())
    throw Error(Status::invalid_file, "The file has only one of 'image.mean' and 'image.std'; save the network again.");
  ImageWords words{numbers("image.mean", mean_text->second), numbers("image.std", std_text->second)};
  if (words.mean.size() != words.std.size())
    throw Error(Status::invalid_file, "The file's 'image.mean' and 'image.std' have different lengths; save the network again.");
  if (!std::all_of(words.std.begin(), words.std.end(), [](float value) { return value > 0.0f; }))
    throw Error(Status::invalid_file, "The file's 'image.std' is not positive; save the network again.");
  return words;
}

}  // namespace niwaki
