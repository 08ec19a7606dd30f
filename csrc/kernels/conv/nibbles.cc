#include "kernels/conv/nibbles.h"

namespace niwaki {

void Nibbles::pack(const uint8_t* bytes, int64_t rows, int64_t outputs, uint8_t* to) const {
  const int64_t half = outputs * 2;
  for (int64_t row = 0; row < rows; ++row, bytes += 2 * half, to += half)
    for (int64_t i = 0; i < half; ++i) to[i] = static_cast<uint8_t>(numbers[bytes[i]] | numbers[bytes[half + i]] << 4);
}

std::optional<Nibbles> find_nibbles(std::span<const int8_t> weights, const ConvKernels& kernels) {
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
  Nibbles nibbles{};
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
