#include "capi/tensors.h"

#include <algorithm>
#include <limits>

#include "capi/errors.h"

namespace niwaki::capi {

std::string text_of(const Sizes& sizes) {
  std::string text = "[";
  for (size_t i = 0; i < sizes.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(sizes[i]);
  return text + "]";
}

niwaki_shape shape_of(const Sizes& sizes) {
  niwaki_shape shape{};
  shape.rank = static_cast<int32_t>(sizes.size());
  std::copy(sizes.begin(), sizes.end(), shape.sizes);
  return shape;
}

Sizes sizes_of(const niwaki_shape& shape, const std::string& what) {
  if (shape.rank < 0 || shape.rank > NIWAKI_MAX_RANK)
    refuse(what + ": the rank of its shape must be from 0 to " + std::to_string(NIWAKI_MAX_RANK) + ", not " +
           std::to_string(shape.rank) + ".");
  return {shape.sizes, shape.sizes + shape.rank};
}

niwaki_type type_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return NIWAKI_FLOAT32;
    case DType::i64: return NIWAKI_INT64;
    case DType::i32: return NIWAKI_INT32;
    case DType::boolean: return NIWAKI_BOOL;
    case DType::i8: return NIWAKI_INT8;
    case DType::byte:
    case DType::u8: break;  // as which a state of bytes begins; the graph lets no value of it out
  }
  return NIWAKI_UINT8;
}

size_t element_bytes(niwaki_type type) {
  switch (type) {
    case NIWAKI_FLOAT32:
    case NIWAKI_INT32: return 4;
    case NIWAKI_INT64: return 8;
    case NIWAKI_UINT8:
    case NIWAKI_INT8:
    case NIWAKI_BOOL: break;
  }
  return 1;
}

size_t elements_of(const Sizes& sizes, const std::string& what) {
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<ptrdiff_t>::max()) / sizeof(int64_t);
  uint64_t count = 1;
  for (const int64_t size : sizes) {
    if (size < 0) refuse(what + ": a size of its shape " + text_of(sizes) + " is negative.");
    if (size > 0 && count > kMost / static_cast<uint64_t>(size))
      refuse(what + ": its shape " + text_of(sizes) + " is too large.");
    count *= static_cast<uint64_t>(size);
  }
  return static_cast<size_t>(count);
}

void check_type(const niwaki_tensor& tensor, niwaki_type expected, const std::string& what) {
  const int32_t type = number_of(tensor.type);
  if (type < NIWAKI_FLOAT32 || type > NIWAKI_INT8) refuse(what + ": its type is no niwaki_type.");
  if (type != expected)
    refuse(what + ": " + niwaki_type_name(expected) + " is expected, not " + niwaki_type_name(tensor.type) + ".");
}

void check_memory(const niwaki_tensor& tensor, size_t elements, const std::string& what) {
  const size_t bytes = element_bytes(tensor.type), needed = elements * bytes;
  if (tensor.bytes < needed)
    refuse(what + ": its buffer has " + std::to_string(tensor.bytes) + " bytes; " + std::to_string(needed) + " are needed.");
  if (tensor.data == nullptr && needed > 0) refuse(what + ": its data is NULL.");
  if (reinterpret_cast<uintptr_t>(tensor.data) % bytes != 0)
    refuse(what + ": its data is not aligned to " + std::to_string(bytes) + " bytes, as " + niwaki_type_name(tensor.type) +
           " has to be.");
}

void check_bools(const niwaki_tensor& tensor, size_t elements, const std::string& what) {
  if (tensor.type != NIWAKI_BOOL) return;
  const auto* bytes = static_cast<const uint8_t*>(tensor.data);
  const auto* wrong = std::find_if(bytes, bytes + elements, [](uint8_t byte) { return byte > 1; });
  if (wrong != bytes + elements)
    refuse(what + ": a bool is 0 or 1; element " + std::to_string(wrong - bytes) + " is " + std::to_string(*wrong) + ".");
}

}  // namespace niwaki::capi
