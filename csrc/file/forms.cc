#include "file/forms.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <memory>
#include <utility>

#include "base/memory.h"

namespace niwaki {
namespace {

// An int8 weight as [outputs, inputs, taps], its blocks as [outputs, groups, taps].
struct Geometry {
  int64_t outputs, inputs, taps, groups;

  explicit Geometry(std::span<const int64_t> shape) : outputs(shape[0]), inputs(shape[1]), taps(1), groups((shape[1] + 3) / 4) {
    for (size_t i = 2; i < shape.size(); ++i) taps *= shape[i];
  }
  int64_t blocks() const { return outputs * groups * taps; }
  int64_t elements() const { return outputs * inputs * taps; }

  // Calls function(block, first element, channels in it): the elements of a block are `taps` apart.
  template <typename Function>
  void for_each_block(const Function& function) const {
    int64_t block = 0;
    for (int64_t output = 0; output < outputs; ++output)
      for (int64_t group = 0; group < groups; ++group)
        for (int64_t tap = 0; tap < taps; ++tap)
          function(block++, (output * inputs + group * 4) * taps + tap, std::min<int64_t>(4, inputs - group * 4));
  }
};

bool any(const int8_t* weight, int64_t first, int64_t channels, int64_t taps) {
  for (int64_t c = 0; c < channels; ++c)
    if (weight[first + c * taps] != 0) return true;
  return false;
}

int64_t count_blocks(const Tensor& tensor) {
  const Geometry g(tensor.shape());
  int64_t count = 0;
  g.for_each_block([&](int64_t, int64_t first, int64_t channels) { count += any(tensor.as<int8_t>(), first, channels, g.taps); });
  return count;
}

// Bits set in the mask; the unused ones of the last byte must be zero.
std::optional<int64_t> count_bits(std::span<const uint8_t> mask, int64_t bits) {
  int64_t count = 0;
  for (uint8_t byte : mask) count += std::popcount(byte);
  if (bits % 8 != 0 && (mask.back() >> (bits % 8)) != 0) return std::nullopt;
  return count;
}

// Calls function(index) for each bit that is set, in order.
template <typename Function>
void for_each_bit(std::span<const uint8_t> mask, const Function& function) {
  for (size_t byte = 0; byte < mask.size(); ++byte)
    for (unsigned bits = mask[byte]; bits != 0; bits &= bits - 1)
      function(static_cast<int64_t>(byte) * 8 + std::countr_zero(bits));
}

// Blocks that are not all zero, and zeros for the channels that do not exist.
bool good_blocks(const Geometry& g, std::span<const uint8_t> mask, std::span<const uint8_t> values) {
  const int64_t missing = g.groups * 4 - g.inputs;
  const uint8_t* four = values.data();
  bool good = true;
  for_each_bit(mask, [&](int64_t block) {
    uint32_t word;
    std::memcpy(&word, four, 4);
    good = good && word != 0;
    if (missing > 0 && block / g.taps % g.groups == g.groups - 1)
      good = good && std::all_of(four + 4 - missing, four + 4, [](uint8_t value) { return value == 0; });
    four += 4;
  });
  return good;
}

void unpack_blocks(const Geometry& g, std::span<const uint8_t> mask, std::span<const uint8_t> values, uint8_t* weight) {
  const uint8_t* four = values.data();
  for_each_bit(mask, [&](int64_t block) {
    const int64_t tap = block % g.taps, group = block / g.taps % g.groups, output = block / (g.taps * g.groups);
    const int64_t channels = std::min<int64_t>(4, g.inputs - group * 4);
    uint8_t* to = weight + (output * g.inputs + group * 4) * g.taps + tap;
    for (int64_t c = 0; c < channels; ++c) to[c * g.taps] = four[c];
    four += 4;
  });
}

// A masked payload whose length and values have been checked.
class MaskedSource final : public TensorSource {
 public:
  MaskedSource(Form form, const std::vector<int64_t>& shape, std::shared_ptr<const uint8_t> payload, size_t bytes)
      : form_(form), geometry_(shape), payload_(std::move(payload)), bytes_(bytes), mask_(mask_bytes(form, shape)) {}

  std::shared_ptr<const uint8_t> unpack() const override {
    auto buffer = std::make_shared<Buffer>(static_cast<size_t>(geometry_.elements()));
    std::fill_n(buffer->data(), buffer->size(), uint8_t{0});
    const std::span payload(payload_.get(), bytes_);
    const auto mask = payload.first(static_cast<size_t>(mask_)), values = payload.subspan(mask.size());
    if (form_ == Form::block_mask) {
      unpack_blocks(geometry_, mask, values, buffer->data());
    } else {
      const uint8_t* next = values.data();
      for_each_bit(mask, [&](int64_t i) { buffer->data()[i] = *next++; });
    }
    return std::shared_ptr<const uint8_t>(buffer, buffer->data());
  }

 private:
  Form form_;
  Geometry geometry_;
  std::shared_ptr<const uint8_t> payload_;
  size_t bytes_;
  int64_t mask_;
};

}  // namespace

const char* form_name(Form form) {
  switch (form) {
    case Form::dense: return "dense";
    case Form::block_mask: return "block mask";
    case Form::bit_mask: return "bit mask";
  }
  return "unknown";
}

int64_t mask_bytes(Form form, std::span<const int64_t> shape) {
  const Geometry g(shape);
  return div_up(form == Form::block_mask ? g.blocks() : g.elements(), 8);
}

StoredSize stored_size(const Tensor& given) {
  const Tensor tensor = given.unpacked();
  StoredSize best{Form::dense, tensor.bytes()};
  if (tensor.dtype() != DType::i8 || tensor.shape().size() < 2 || tensor.data() == nullptr || tensor.elements() == 0) return best;
  const int64_t nonzeros =
      tensor.elements() - std::count(tensor.as<int8_t>(), tensor.as<int8_t>() + tensor.elements(), int8_t{0});
  const StoredSize blocks{Form::block_mask, mask_bytes(Form::block_mask, tensor.shape()) + 4 * count_blocks(tensor)};
  const StoredSize bits{Form::bit_mask, mask_bytes(Form::bit_mask, tensor.shape()) + nonzeros};
  if (blocks.bytes < best.bytes) best = blocks;
  if (bits.bytes < best.bytes) best = bits;
  return best;
}

std::vector<uint8_t> encode(const Tensor& given, Form form) {
  const Tensor tensor = given.unpacked();
  const Geometry g(tensor.shape());
  const int8_t* weight = tensor.as<int8_t>();
  std::vector<uint8_t> payload(static_cast<size_t>(mask_bytes(form, tensor.shape())), 0);
  const auto mark = [&](int64_t index) { payload[static_cast<size_t>(index >> 3)] |= static_cast<uint8_t>(1 << (index & 7)); };
  if (form == Form::bit_mask) {
    for (int64_t i = 0; i < g.elements(); ++i) {
      if (weight[i] == 0) continue;
      mark(i);
      payload.push_back(static_cast<uint8_t>(weight[i]));
    }
    return payload;
  }
  g.for_each_block([&](int64_t block, int64_t first, int64_t channels) {
    if (!any(weight, first, channels, g.taps)) return;
    mark(block);
    for (int64_t c = 0; c < 4; ++c)
      payload.push_back(c < channels ? static_cast<uint8_t>(weight[first + c * g.taps]) : uint8_t{0});
  });
  return payload;
}

std::optional<Tensor> decode(Form form, const std::vector<int64_t>& shape, std::shared_ptr<const uint8_t> payload, size_t bytes) {
  const Geometry g(shape);
  const auto mask_size = static_cast<size_t>(mask_bytes(form, shape));
  if (bytes < mask_size || mask_size == 0) return std::nullopt;
  const std::span mask(payload.get(), mask_size), values(payload.get() + mask_size, bytes - mask_size);
  const auto set = count_bits(mask, form == Form::block_mask ? g.blocks() : g.elements());
  if (!set || values.size() != static_cast<size_t>(*set) * (form == Form::block_mask ? 4 : 1)) return std::nullopt;
  const bool good = form == Form::block_mask ? good_blocks(g, mask, values)
                                             : std::find(values.begin(), values.end(), uint8_t{0}) == values.end();
  if (!good) return std::nullopt;
  return Tensor(DType::i8, shape, std::make_shared<MaskedSource>(form, shape, std::move(payload), bytes));
}

}  // namespace niwaki
