// How the bytes of a mask or of weights are written: as they are, as indices into a codebook, or as a Huffman code.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace niwaki {

enum class Coding : uint8_t { raw = 0, codebook = 1, huffman = 2 };
inline constexpr uint8_t kCodings = 3;

struct Choice {
  Coding coding;
  int64_t bytes;
};

// The smallest; Huffman only where it saves at least 1/32 and 32 bytes, for decoding takes time.
Choice choose_coding(std::span<const uint8_t> bytes);

std::vector<uint8_t> encode(std::span<const uint8_t> bytes, Coding coding);

// The most bytes that `encoded` bytes can stand for.
int64_t most_decoded(Coding coding, int64_t encoded);

// Fills `bytes`; false where `encoded` is not what `encode` makes of so many bytes. Whatever it holds, nothing outside of it is read.
bool decode(std::span<const uint8_t> encoded, Coding coding, std::span<uint8_t> bytes);

// False only where the encoded bytes hold no such byte for sure.
bool may_hold(std::span<const uint8_t> encoded, Coding coding, uint8_t byte);

}  // namespace niwaki
