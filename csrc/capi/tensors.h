// Arrays and shapes of the caller's: what is checked of them, whatever they are for.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "niwaki/niwaki.h"

namespace niwaki::capi {

// "[1, 3, 224, 224]"
std::string text_of(const Sizes& sizes);
niwaki_shape shape_of(const Sizes& sizes);
Sizes sizes_of(const niwaki_shape& shape, const std::string& what);  // refuses a rank that there is not

niwaki_type type_of(DType dtype);                                 // of an input, an output or a state
size_t element_bytes(niwaki_type type);                           // of a type that there is
size_t elements_of(const Sizes& sizes, const std::string& what);  // refuses sizes that are negative or too large

// What the caller wrote into an enumeration: C allows any number, which C++ must not read as one that is not declared.
template <typename Enum>
int32_t number_of(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int32_t));
  int32_t number;
  std::memcpy(&number, &value, sizeof number);
  return number;
}

// Each refuses with a sentence that begins with `what`, as "Input 'ids'".
void check_type(const niwaki_tensor& tensor, niwaki_type expected, const std::string& what);
void check_memory(const niwaki_tensor& tensor, size_t elements, const std::string& what);
void check_bools(const niwaki_tensor& tensor, size_t elements, const std::string& what);  // does nothing for other types

}  // namespace niwaki::capi
