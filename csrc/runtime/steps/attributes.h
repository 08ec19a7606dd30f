// Attributes of a node whose sizes are known: every integer is a constant.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

inline std::vector<int64_t> integers(const Attributes& attributes, const char* name) {
  std::vector<int64_t> values;
  for (const Dim& dim : std::get<Dims>(attributes.at(name))) values.push_back(dim.value());
  return values;
}
inline int64_t integer_of(const Attributes& attributes, const char* name, size_t index) {
  return std::get<Dims>(attributes.at(name)).at(index).value();
}
inline int64_t integer(const Attributes& attributes, const char* name) { return integer_of(attributes, name, 0); }
inline const std::vector<double>& numbers(const Attributes& attributes, const char* name) {
  return std::get<std::vector<double>>(attributes.at(name));
}
inline double number(const Attributes& attributes, const char* name) { return numbers(attributes, name).at(0); }
inline const std::string& word(const Attributes& attributes, const char* name) {
  return std::get<std::string>(attributes.at(name));
}

// The bytes of an element of this type; what does not fit an integer becomes the nearest one that does.
std::array<uint8_t, 8> element_of(double value, DType dtype);

DType dtype_of(const std::string& word);  // "float32", "int64", ...

}  // namespace niwaki
