// Arrays of any type, and the files that they come from: raw elements, or .npy as numpy writes them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "niwaki/niwaki.hpp"

struct Array {
  niwaki_type type = NIWAKI_FLOAT32;
  niwaki::Sizes sizes;
  std::vector<std::uint8_t> bytes;  // of the elements in row-major order

  Array() = default;
  Array(niwaki_type of, niwaki::Sizes shape);  // of zeros

  std::size_t elements() const { return niwaki::elements(niwaki::shape(sizes)); }
  double at(std::size_t index) const;
  niwaki_tensor tensor();
};

// float32: sums of uniform values, about normal, for the answers do not matter and the speed hardly depends on them. bool: true. Integers are
// zeros: they may be indices of tables, whose lengths are not known here.
void fill(Array& array, std::uint32_t seed);

bool is_npy(const std::string& path);  // by its name

// Gives the array what is in the file: elements of its type and, where it is .npy, sizes. Raw elements are as many as it has. Throws UsageError.
void read(const std::string& path, Array& array);
void write(const std::string& path, const Array& array);

// The largest difference between elements; the largest number there is where one alone is not a number.
double largest_difference(const Array& a, const Array& b);
