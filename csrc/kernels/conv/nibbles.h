// Weights of at most sixteen values as numbers of 4 bits, and the table of what each number stands for: codebooks, and weights of 4 bits and
// fewer.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "kernels/conv/kernel.h"

namespace niwaki {

struct Nibbles {
  alignas(16) std::array<int8_t, 16> table;  // see WideTile; values in their order, then zeros
  bool neighbours;                           // the values follow each other: a weight's number is the weight less the first value
  std::array<uint8_t, 256> numbers;          // of a weight, as a byte
  // Rows of `outputs` outputs, [rows][outputs] x 4 bytes, to half as many bytes.
  void pack(const uint8_t* bytes, int64_t rows, int64_t outputs, uint8_t* to) const;
};

// Nothing where there are more values, zero among them: it fills up rows. Nor where the kernel can't multiply some of them.
std::optional<Nibbles> find_nibbles(std::span<const int8_t> weights, const ConvKernels& kernels);

}  // namespace niwaki
