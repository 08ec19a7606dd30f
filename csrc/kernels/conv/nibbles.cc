#include "kernels/conv/nibbles.h"

#include <algorithm>

namespace niwaki {

namespace {

// Whether all weights and 0 lie within sixteen neighbouring numbers, and the first of these. A layer of 8 bits stops early.
std::optional<int32_t> first_of_sixteen(std::span<const int8_t> weights) {
  constexpr std::size_t kTogether = 4096;
  uint8_t low = 128, high = 128;  // of weights plus 128: unsigned bytes have a minimum on every machine
  for (std::size_t begin = 0; begin < weights.size(); begin += kTogether) {
    for (const int8_t weight : weights.subspan(begin, std::min(kTogether, weights.size() - begin))) {
      const auto above = static_cast<uint8_t>(static_cast<uint8_t>(weight) ^ 128);
      low = std::min(low, above), high = std::max(high, above);
    }
    if (high - low > 15) return std::nullopt;
  }
  return low - 128;
}

}  // namespace

void Nibbles::pack(const uint8_t* bytes, int64_t rows, int64_t outputs, uint8_t* to) const {
  const int64_t half = outputs * 2;
  const auto first = static_cast<uint8_t>(table[0]);
  for (int64_t row = 0; row < rows; ++row, bytes += 2 * half, to += half) {
    if (neighbours)
      for (int64_t i = 0; i < half; ++i)
        to[i] = static_cast<uint8_t>(static_cast<uint8_t>(bytes[i] - first) | static_cast<uint8_t>(bytes[half + i] - first) << 4);
    else
      for (int64_t i = 0; i < half; ++i) to[i] = static_cast<uint8_t>(numbers[bytes[i]] | numbers[bytes[half + i]] << 4);
  }
}

std::optional<Nibbles> find_nibbles(std::span<const int8_t> weights, const ConvKernels& kernels) {
  Nibbles nibbles{};
  if (const auto first = first_of_sixteen(weights)) {
    nibbles.neighbours = true;
    for (int32_t number = 0; number < 16; ++number) {
      nibbles.table[static_cast<std::size_t>(number)] = static_cast<int8_t>(*first + number);
      nibbles.numbers[static_cast<uint8_t>(*first + number)] = static_cast<uint8_t>(number);
    }
    return nibbles;
  }
  // vpmaddubsw adds two products of bytes in 16 bits: 2 * 255 * 64 < 2^15.
  const int32_t largest = kernels.pairs ? 64 : 127;
  std::array<bool, 256> seen{};
  seen[0] = true;
  std::size_t count = 1;
  for (const int8_t weight : weights) {
    bool& there = seen[static_cast<uint8_t>(weight)];
    if (there) continue;
    if (++count > 16 || weight > largest || weight < -largest) return std::nullopt;
    there = true;
  }
  uint8_t number = 0;
  for (int32_t value = -128; value < 128; ++value) {
    const auto byte = static_cast<uint8_t>(value);
    if (!seen[byte]) continue;
    nibbles.table[number] = static_cast<int8_t>(value);
    nibbles.numbers[byte] = number++;
  }
  return nibbles;
}

}  // namespace niwaki
