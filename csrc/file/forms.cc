#include "file/forms.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "base/memory.h"
#include "file/geometry.h"

namespace niwaki {
namespace {

int64_t values_per_bit(Form form) { return form == Form::block_mask ? 4 : 1; }

// Bits set in the mask; the unused ones of the last byte must be zero.
std::optional<int64_t> count_bits(std::span<const uint8_t> mask, int64_t bits) {
  int64_t count = 0;
  for (uint8_t byte : mask) count += std::popcount(byte);
  if (bits % 8 != 0 && (mask.back() >> (bits % 8)) != 0) return std::nullopt;
  return count;
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

// A payload is its mask, after a u32 with the size of the mask's code where it has one, and its values.
class EncodedSource final : public TensorSource {
 public:
  EncodedSource(const std::vector<int64_t>& shape, Encoded encoded)
      : geometry_(shape), encoded_(std::move(encoded)), mask_size_(static_cast<size_t>(mask_bytes(form(), shape))) {
    std::span<const uint8_t> rest = encoded_.span();
    size_t code = mask_size_;
    if (encoded_.storage.mask != Coding::raw) {
      uint32_t size;
      if (rest.size() < sizeof(size)) encoded_.refuse();
      std::memcpy(&size, rest.data(), sizeof(size));
      rest = rest.subspan(sizeof(size));
      code = size;
    }
    if (code > rest.size()) encoded_.refuse();
    mask_ = rest.first(code), values_ = rest.subspan(code);
    check_room();
    if (encoded_.storage.mask == Coding::raw && encoded_.storage.values == Coding::raw && form() != Form::dense)
      check_values(mask_, values_);
  }

  std::shared_ptr<const uint8_t> unpack() const override {
    auto buffer = std::make_shared<Buffer>(static_cast<size_t>(geometry_.elements()));
    const std::span weight(buffer->data(), buffer->size());
    if (form() == Form::dense) {
      if (!niwaki::decode(values_, encoded_.storage.values, weight)) encoded_.refuse();
    } else {
      unpack_masked(weight);
    }
    if (encoded_.unload) encoded_.unload();
    return std::shared_ptr<const uint8_t>(buffer, buffer->data());
  }

  bool may_hold(uint8_t byte) const override {
    return (byte == 0 && form() != Form::dense) || niwaki::may_hold(values_, encoded_.storage.values, byte);
  }

 private:
  Form form() const { return encoded_.storage.form; }

  // No more memory will be asked for than the payload can fill.
  void check_room() const {
    const int64_t values = most_decoded(encoded_.storage.values, static_cast<int64_t>(values_.size()));
    const int64_t mask = most_decoded(encoded_.storage.mask, static_cast<int64_t>(mask_.size()));
    if (form() == Form::dense ? values < geometry_.elements() : mask < static_cast<int64_t>(mask_size_)) encoded_.refuse();
  }

  std::vector<uint8_t> decoded(std::span<const uint8_t> code, Coding coding, size_t size) const {
    if (most_decoded(coding, static_cast<int64_t>(code.size())) < static_cast<int64_t>(size)) encoded_.refuse();
    std::vector<uint8_t> bytes(size);
    if (!niwaki::decode(code, coding, bytes)) encoded_.refuse();
    return bytes;
  }

  size_t count_values(std::span<const uint8_t> mask) const {
    const auto set = count_bits(mask, form() == Form::block_mask ? geometry_.blocks() : geometry_.elements());
    if (!set) encoded_.refuse();
    return static_cast<size_t>(*set * values_per_bit(form()));
  }

  void check_values(std::span<const uint8_t> mask, std::span<const uint8_t> values) const {
    if (values.size() != count_values(mask)) encoded_.refuse();
    const bool good = form() == Form::block_mask ? good_blocks(geometry_, mask, values)
                                                 : std::find(values.begin(), values.end(), uint8_t{0}) == values.end();
    if (!good) encoded_.refuse();
  }

  void unpack_masked(std::span<uint8_t> weight) const {
    std::vector<uint8_t> own_mask, own_values;
    std::span<const uint8_t> mask = mask_, values = values_;
    const bool coded = encoded_.storage.mask != Coding::raw || encoded_.storage.values != Coding::raw;
    if (encoded_.storage.mask != Coding::raw) mask = own_mask = decoded(mask_, encoded_.storage.mask, mask_size_);
    if (encoded_.storage.values != Coding::raw)
      values = own_values = decoded(values_, encoded_.storage.values, count_values(mask));
    if (coded) check_values(mask, values);
    std::fill(weight.begin(), weight.end(), uint8_t{0});
    if (form() == Form::block_mask) {
      unpack_blocks(geometry_, mask, values, weight.data());
    } else {
      const uint8_t* next = values.data();
      for_each_bit(mask, [&](int64_t i) { weight[static_cast<size_t>(i)] = *next++; });
    }
  }

  Geometry geometry_;
  Encoded encoded_;
  size_t mask_size_;
  std::span<const uint8_t> mask_, values_;
};

}  // namespace

int64_t mask_bytes(Form form, std::span<const int64_t> shape) {
  if (form == Form::dense) return 0;
  const Geometry g(shape);
  return div_up(form == Form::block_mask ? g.blocks() : g.elements(), 8);
}

Tensor decode(const std::vector<int64_t>& shape, Encoded encoded) {
  return Tensor(DType::i8, shape, std::make_shared<EncodedSource>(shape, std::move(encoded)));
}

}  // namespace niwaki
