// The forms in which a tensor is stored, to and from the tensor.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "file/file.h"

namespace niwaki {

// The payload of a tensor; dense ones are the tensor's own bytes, and `encode` is not for them.
std::vector<uint8_t> encode(const Tensor& tensor, Form form);

// Bytes of the mask for an int8 tensor of this shape (rank 2 and more, no overflow).
int64_t mask_bytes(Form form, std::span<const int64_t> shape);

// The tensor, unpacked when it is asked for, or nothing where the payload does not belong to this shape: wrong length, values that should not be there.
// `payload` is kept alive, not copied. Unpacked, it takes at most 32 times the payload in memory.
std::optional<Tensor> decode(Form form, const std::vector<int64_t>& shape, std::shared_ptr<const uint8_t> payload, size_t bytes);

}  // namespace niwaki
