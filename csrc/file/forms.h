// The forms in which a tensor is stored, to and from the tensor.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "file/file.h"

namespace niwaki {

// The payload of an int8 tensor of rank 2 or more.
std::vector<uint8_t> encode(const Tensor& tensor, Storage storage);

// Bytes of the mask for an int8 tensor of this shape (rank 2 and more, no overflow); 0 for Form::dense.
int64_t mask_bytes(Form form, std::span<const int64_t> shape);

// A payload, where the tensor is kept as it was written.
struct Encoded {
  Storage storage;
  std::shared_ptr<const uint8_t> data;  // kept alive, not copied
  size_t bytes = 0;
  std::function<void()> refuse;       // throws: the payload is not good
  std::function<void()> unload = {};  // the payload was read and will hardly be read again; may be empty

  std::span<const uint8_t> span() const { return {data.get(), bytes}; }
};

// The tensor, unpacked when it is asked for. Refuses, at once, a payload that does not belong to the shape as far as that shows
// without decoding it: wrong length, raw values that should not be there, more elements than so many bytes can hold. The rest
// shows when it is unpacked. Unpacked, it takes at most 256 times the payload in memory.
Tensor decode(const std::vector<int64_t>& shape, Encoded encoded);

}  // namespace niwaki
