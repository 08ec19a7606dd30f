#include "arrays.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>

#include "options.h"

namespace {

using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

constexpr char kMagic[] = "\x93NUMPY";
constexpr std::size_t kMagicBytes = 6, kMostHeader = 65536;

std::size_t element_bytes(niwaki_type type) {
  return type == NIWAKI_INT64 ? 8 : type == NIWAKI_FLOAT32 || type == NIWAKI_INT32 ? 4 : 1;
}

// What numpy calls it.
const char* description(niwaki_type type) {
  switch (type) {
    case NIWAKI_FLOAT32: return "<f4";
    case NIWAKI_INT64: return "<i8";
    case NIWAKI_INT32: return "<i4";
    case NIWAKI_BOOL: return "|b1";
    case NIWAKI_INT8: return "|i1";
    case NIWAKI_UINT8: break;
  }
  return "|u1";
}

[[noreturn]] void refuse(const std::string& path, const std::string& what) { throw UsageError(path + " " + what); }

// The text after a key of a header such as {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }.
std::string after(const std::string& path, const std::string& header, const std::string& key) {
  const std::size_t at = header.find("'" + key + "':");
  if (at == std::string::npos) refuse(path, "has no '" + key + "' in its header.");
  const std::size_t begin = header.find_first_not_of(' ', at + key.size() + 3);
  return begin == std::string::npos ? "" : header.substr(begin);
}

niwaki::Sizes parse_shape(const std::string& path, const std::string& text) {
  niwaki::Sizes sizes;
  const char* at = text.c_str();
  if (*at++ != '(') refuse(path, "has no shape in its header.");
  while (*at != ')') {
    char* end = nullptr;
    const long long size = std::strtoll(at, &end, 10);
    if (end == at || size < 0) refuse(path, "has a shape in its header that is none.");
    sizes.push_back(size);
    at = end + std::strspn(end, ", ");
  }
  return sizes;
}

// Sizes of the array whose elements follow; the file is after its magic.
niwaki::Sizes read_header(const std::string& path, std::FILE* file, niwaki_type type) {
  unsigned char version[2] = {}, length[4] = {};
  const bool good = std::fread(version, 1, 2, file) == 2;
  const std::size_t length_bytes = version[0] == 1 ? 2 : 4;
  if (!good || std::fread(length, 1, length_bytes, file) != length_bytes) refuse(path, "is cut short.");
  const std::size_t bytes = length[0] | length[1] << 8 | length[2] << 16 | static_cast<std::size_t>(length[3]) << 24;
  std::string header(std::min(bytes, kMostHeader), ' ');
  if (bytes > kMostHeader || std::fread(header.data(), 1, bytes, file) != bytes) refuse(path, "is cut short.");
  const std::string found = after(path, header, "descr").substr(0, 5), wanted = std::string("'") + description(type) + "'";
  if (found != wanted)
    refuse(path, "holds elements of type " + found + "; " + niwaki_type_name(type) + " (" + wanted + ") is expected.");
  if (after(path, header, "fortran_order").rfind("False", 0) != 0)
    refuse(path, "is not in row-major order; save numpy.ascontiguousarray of it.");
  return parse_shape(path, after(path, header, "shape"));
}

}  // namespace

Array::Array(niwaki_type of, niwaki::Sizes shape) : type(of), sizes(std::move(shape)) {
  bytes.resize(elements() * element_bytes(type));
}

double Array::at(std::size_t index) const {
  const auto read = [&](auto element) {
    std::memcpy(&element, bytes.data() + index * sizeof element, sizeof element);
    return static_cast<double>(element);
  };
  switch (type) {
    case NIWAKI_FLOAT32: return read(0.0f);
    case NIWAKI_INT64: return read(std::int64_t{0});
    case NIWAKI_INT32: return read(std::int32_t{0});
    case NIWAKI_INT8: return read(std::int8_t{0});
    case NIWAKI_UINT8:
    case NIWAKI_BOOL: break;
  }
  return read(std::uint8_t{0});
}

niwaki_tensor Array::tensor() {
  niwaki_tensor tensor{};
  tensor.type = type;
  tensor.shape = niwaki::shape(sizes);
  tensor.data = bytes.data();
  tensor.bytes = bytes.size();
  return tensor;
}

void fill(Array& array, std::uint32_t seed) {
  std::fill(array.bytes.begin(), array.bytes.end(), static_cast<std::uint8_t>(array.type == NIWAKI_BOOL));
  if (array.type != NIWAKI_FLOAT32) return;
  std::uint32_t state = seed * 2654435761u + 1;
  for (std::size_t i = 0; i < array.bytes.size(); i += sizeof(float)) {
    std::int32_t sum = 0;
    for (int k = 0; k < 4; ++k) {
      state = state * 1664525u + 1013904223u;
      sum += static_cast<std::int32_t>(state >> 16) - 32768;
    }
    const float value = static_cast<float>(sum) / 37837.0f;  // the standard deviation of the sum
    std::memcpy(array.bytes.data() + i, &value, sizeof value);
  }
}

bool is_npy(const std::string& path) { return path.size() > 4 && path.compare(path.size() - 4, 4, ".npy") == 0; }

void read(const std::string& path, Array& array) {
  const File file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) refuse(path, "cannot be opened.");
  if (is_npy(path)) {
    char start[kMagicBytes];
    if (std::fread(start, 1, kMagicBytes, file.get()) != kMagicBytes || std::memcmp(start, kMagic, kMagicBytes) != 0)
      refuse(path, "is no .npy file.");
    array = Array(array.type, read_header(path, file.get(), array.type));
  }
  const std::size_t found = std::fread(array.bytes.data(), 1, array.bytes.size(), file.get());
  if (found != array.bytes.size() || std::fgetc(file.get()) != EOF)
    refuse(path, "does not hold " + std::to_string(array.elements()) + " " + niwaki_type_name(array.type) +
                     " values, which the shape asks for.");
}

void write(const std::string& path, const Array& array) {
  std::string header;
  if (is_npy(path)) {
    std::string shape;
    for (const std::int64_t size : array.sizes) shape += std::to_string(size) + ",";
    std::string words =
        "{'descr': '" + std::string(description(array.type)) + "', 'fortran_order': False, 'shape': (" + shape + "), }";
    words.resize((words.size() + 11 + 63) / 64 * 64 - 11,
                 ' ');  // with what stands before it and the end of the line, a multiple of 64
    words += '\n';
    header = std::string(kMagic, kMagicBytes) + '\1' + '\0' + static_cast<char>(words.size() & 255) +
             static_cast<char>(words.size() >> 8) + words;
  }
  const File file(std::fopen(path.c_str(), "wb"), std::fclose);
  if (!file || std::fwrite(header.data(), 1, header.size(), file.get()) != header.size() ||
      std::fwrite(array.bytes.data(), 1, array.bytes.size(), file.get()) != array.bytes.size() || std::fflush(file.get()) != 0)
    refuse(path, "cannot be written.");
}

double largest_difference(const Array& a, const Array& b) {
  double largest = 0.0;
  for (std::size_t i = 0; i < a.elements(); ++i) {
    const double x = a.at(i), y = b.at(i);
    if (x == y || (std::isnan(x) && std::isnan(y))) continue;
    const double difference = std::abs(x - y);
    largest = std::max(largest, std::isnan(difference) ? std::numeric_limits<double>::max() : difference);
  }
  return largest;
}
