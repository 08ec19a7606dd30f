#include "file/forms.h"

#include <algorithm>
#include <bit>
#include <memory>

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

bool bit(std::span<const uint8_t> mask, int64_t index) { return (mask[static_cast<size_t>(index >> 3)] >> (index & 7)) & 1; }

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

bool decode_blocks(const Geometry& g, std::span<const uint8_t> mask, std::span<const uint8_t> values, int8_t* weight) {
  size_t next = 0;
  bool good = true;
  g.for_each_block([&](int64_t block, int64_t first, int64_t channels) {
    if (!bit(mask, block)) return;
    bool some = false;
    for (int64_t c = 0; c < 4; ++c) {
      const auto value = static_cast<int8_t>(values[next++]);
      some = some || value != 0;
      if (c < channels) {
        weight[first + c * g.taps] = value;
      } else {
        good = good && value == 0;
      }
    }
    good = good && some;
  });
  return good;
}

bool decode_bits(const Geometry& g, std::span<const uint8_t> mask, std::span<const uint8_t> values, int8_t* weight) {
  size_t next = 0;
  bool good = true;
  for (int64_t i = 0; i < g.elements(); ++i) {
    if (!bit(mask, i)) continue;
    weight[i] = static_cast<int8_t>(values[next++]);
    good = good && weight[i] != 0;
  }
  return good;
}

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

StoredSize stored_size(const Tensor& tensor) {
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

std::vector<uint8_t> encode(const Tensor& tensor, Form form) {
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

std::optional<Tensor> decode(Form form, const std::vector<int64_t>& shape, std::span<const uint8_t> payload) {
  const Geometry g(shape);
  const auto mask_size = static_cast<size_t>(mask_bytes(form, shape));
  if (payload.size() < mask_size || mask_size == 0) return std::nullopt;
  const auto mask = payload.first(mask_size), values = payload.subspan(mask_size);
  const auto set = count_bits(mask, form == Form::block_mask ? g.blocks() : g.elements());
  if (!set || values.size() != static_cast<size_t>(*set) * (form == Form::block_mask ? 4 : 1)) return std::nullopt;
  auto buffer = std::make_shared<Buffer>(static_cast<size_t>(g.elements()));
  std::fill_n(buffer->data(), buffer->size(), uint8_t{0});
  const bool good = form == Form::block_mask ? decode_blocks(g, mask, values, buffer->as<int8_t>())
                                             : decode_bits(g, mask, values, buffer->as<int8_t>());
  if (!good) return std::nullopt;
  return Tensor(DType::i8, shape, std::shared_ptr<const uint8_t>(buffer, buffer->data()));
}

}  // namespace niwaki
