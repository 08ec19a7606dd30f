// Bytes as a canonical Huffman code, in four streams that are decoded at once. docs/file-format.md has the layout.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace niwaki::huffman {

inline constexpr int kLongest = 11;  // bits of a code: the table of a decoder fits the first-level cache, twice
inline constexpr size_t kStreams = 4;

using Counts = std::array<int64_t, 256>;
using Lengths = std::array<uint8_t, 256>;  // bits of each byte's code; 0 for a byte that does not occur

Counts count_bytes(std::span<const uint8_t> bytes);

// The best code of at most kLongest bits. At least two bytes must occur.
Lengths code_lengths(const Counts& counts);

// Bytes that `encode` makes.
int64_t encoded_bytes(std::span<const uint8_t> bytes, const Lengths& lengths);
std::vector<uint8_t> encode(std::span<const uint8_t> bytes, const Lengths& lengths);

// Fills `bytes`. False where the code is not one that `encode` makes of so many bytes; `bytes` then hold anything. Reads
// nothing outside of `encoded`, whatever it holds.
bool decode(std::span<const uint8_t> encoded, std::span<uint8_t> bytes);

// Whether a byte has a code. False, too, where `encoded` is too short to have a table.
bool may_hold(std::span<const uint8_t> encoded, uint8_t byte);

}  // namespace niwaki::huffman
