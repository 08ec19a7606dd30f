// Which form and codings make a tensor smallest, and the tensor in them.
#include <algorithm>
#include <cstring>

#include "base/memory.h"
#include "file/forms.h"
#include "file/geometry.h"

namespace niwaki {
namespace {

constexpr Form kForms[] = {Form::dense, Form::block_mask, Form::bit_mask};

struct Parts {
  std::vector<uint8_t> mask, values;
};

bool any(const int8_t* weight, int64_t first, int64_t channels, int64_t taps) {
  for (int64_t c = 0; c < channels; ++c)
    if (weight[first + c * taps] != 0) return true;
  return false;
}

Parts split(const Tensor& tensor, Form form) {
  const Geometry g(tensor.shape());
  const int8_t* weight = tensor.as<int8_t>();
  Parts parts;
  parts.mask.resize(static_cast<size_t>(mask_bytes(form, tensor.shape())), 0);
  const auto mark = [&](int64_t index) { parts.mask[static_cast<size_t>(index >> 3)] |= static_cast<uint8_t>(1 << (index & 7)); };
  const auto take = [&](int8_t value) { parts.values.push_back(static_cast<uint8_t>(value)); };
  if (form == Form::dense) {
    parts.values.assign(tensor.data(), tensor.data() + tensor.bytes());
  } else if (form == Form::bit_mask) {
    for (int64_t i = 0; i < g.elements(); ++i)
      if (weight[i] != 0) mark(i), take(weight[i]);
  } else {
    g.for_each_block([&](int64_t block, int64_t first, int64_t channels) {
      if (!any(weight, first, channels, g.taps)) return;
      mark(block);
      for (int64_t c = 0; c < 4; ++c) take(c < channels ? weight[first + c * g.taps] : int8_t{0});
    });
  }
  return parts;
}

StoredSize size_of(const Parts& parts, Form form) {
  const Choice values = choose_coding(parts.values);
  if (form == Form::dense) return {{form, Coding::raw, values.coding}, values.bytes};
  const Choice mask = choose_coding(parts.mask);
  const int64_t size = mask.coding == Coding::raw ? 0 : static_cast<int64_t>(sizeof(uint32_t));
  return {{form, mask.coding, values.coding}, size + mask.bytes + values.bytes};
}

}  // namespace

std::string storage_name(Storage storage) {
  const auto coding = [](Coding c) { return c == Coding::codebook ? ", codebook" : c == Coding::huffman ? ", huffman" : ""; };
  const char* forms[] = {"dense", "block mask", "bit mask"};
  return std::string(forms[static_cast<size_t>(storage.form)]) + coding(storage.values);
}

StoredSize stored_size(const Tensor& given) {
  const Tensor tensor = given.unpacked();
  StoredSize best{{}, tensor.bytes()};
  if (tensor.dtype() != DType::i8 || tensor.shape().size() < 2 || tensor.data() == nullptr || tensor.elements() == 0) return best;
  for (const Form form : kForms) {
    const StoredSize found = size_of(split(tensor, form), form);
    if (found.bytes < best.bytes) best = found;
  }
  return best;
}

std::vector<uint8_t> encode(const Tensor& given, Storage storage) {
  const Parts parts = split(given.unpacked(), storage.form);
  std::vector<uint8_t> payload;
  const std::vector<uint8_t> mask = encode(parts.mask, storage.mask), values = encode(parts.values, storage.values);
  if (storage.mask != Coding::raw) {
    const auto size = static_cast<uint32_t>(mask.size());
    payload.resize(sizeof(size));
    std::memcpy(payload.data(), &size, sizeof(size));
  }
  payload.insert(payload.end(), mask.begin(), mask.end());
  payload.insert(payload.end(), values.begin(), values.end());
  return payload;
}

}  // namespace niwaki
