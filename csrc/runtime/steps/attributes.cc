#include "runtime/steps/attributes.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "base/status.h"

namespace niwaki {
namespace {

template <typename T>
T saturated(double value) {
  if (std::isnan(value)) return 0;
  if (value <= static_cast<double>(std::numeric_limits<T>::lowest())) return std::numeric_limits<T>::lowest();
  if (value >= static_cast<double>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  return static_cast<T>(value);
}

}  // namespace

std::array<uint8_t, 8> element_of(double value, DType dtype) {
  std::array<uint8_t, 8> bytes{};
  const auto put = [&](auto element) { std::memcpy(bytes.data(), &element, sizeof(element)); };
  switch (dtype) {
    case DType::f32: put(static_cast<float>(value)); break;
    case DType::i64: put(saturated<int64_t>(value)); break;
    case DType::i32: put(saturated<int32_t>(value)); break;
    case DType::u8:
    case DType::byte: put(saturated<uint8_t>(value)); break;
    case DType::i8: put(saturated<int8_t>(value)); break;
    case DType::boolean: put(static_cast<uint8_t>(value != 0.0)); break;
  }
  return bytes;
}

DType dtype_of(const std::string& word) {
  for (const DType dtype : kDTypes)
    if (word == dtype_name(dtype)) return dtype;
  throw Error(Status::internal, "'" + word + "' is no type of elements.");
}

}  // namespace niwaki
