#include "file/coding.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "file/huffman.h"

namespace niwaki {
namespace {

constexpr size_t kMostCoded = size_t{1} << 32;  // the sizes of streams are written with 32 bits
constexpr size_t kMostEntries = 128;            // more need eight bits, which is what raw bytes take

int index_bits(size_t entries) { return std::max(1, static_cast<int>(std::bit_width(entries - 1))); }

size_t plane_bytes(size_t indices, int bits) { return (indices * static_cast<size_t>(bits) + 7) / 8; }

// The bytes that occur, as rising signed numbers.
std::vector<uint8_t> entries_of(const huffman::Counts& counts) {
  std::vector<uint8_t> entries;
  for (int value = -128; value < 128; ++value)
    if (counts[static_cast<uint8_t>(value)] > 0) entries.push_back(static_cast<uint8_t>(value));
  return entries;
}

std::vector<uint8_t> encode_codebook(std::span<const uint8_t> bytes) {
  const std::vector<uint8_t> entries = entries_of(huffman::count_bytes(bytes));
  const int bits = index_bits(entries.size());
  std::array<uint8_t, 256> index{};
  for (size_t i = 0; i < entries.size(); ++i) index[entries[i]] = static_cast<uint8_t>(i);
  std::vector<uint8_t> out;
  out.reserve(1 + entries.size() + plane_bytes(bytes.size(), bits));
  out.push_back(static_cast<uint8_t>(entries.size() - 1));
  for (const uint8_t entry : entries) out.push_back(entry);
  uint64_t pending = 0;
  int have = 0;
  for (const uint8_t byte : bytes) {
    pending |= uint64_t{index[byte]} << have;
    for (have += bits; have >= 8; have -= 8, pending >>= 8) out.push_back(static_cast<uint8_t>(pending));
  }
  if (have > 0) out.push_back(static_cast<uint8_t>(pending));
  return out;
}

// The entries of an encoded codebook; none where it is not good.
std::span<const uint8_t> codebook(std::span<const uint8_t> encoded) {
  if (encoded.empty() || encoded[0] >= kMostEntries || encoded.size() < size_t{2} + encoded[0]) return {};
  const auto entries = encoded.subspan(1, size_t{1} + encoded[0]);
  for (size_t i = 1; i < entries.size(); ++i)
    if (static_cast<int8_t>(entries[i - 1]) >= static_cast<int8_t>(entries[i])) return {};
  return entries;
}

bool decode_codebook(std::span<const uint8_t> encoded, std::span<uint8_t> bytes) {
  const auto entries = codebook(encoded);
  if (entries.empty()) return false;
  const int bits = index_bits(entries.size());
  const auto plane = encoded.subspan(1 + entries.size());
  if (plane.size() != plane_bytes(bytes.size(), bits)) return false;
  // Indices beyond the entries point at the first one, and are remembered.
  std::array<uint8_t, kMostEntries> values{};
  std::array<uint8_t, kMostEntries> wrong{};
  for (size_t i = 0; i < kMostEntries; ++i) values[i] = entries[i < entries.size() ? i : 0], wrong[i] = i >= entries.size();
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  uint8_t bad = 0;
  uint64_t pending = 0;
  int have = 0;
  const uint8_t* next = plane.data();
  for (uint8_t& byte : bytes) {
    if (have < bits) {
      pending |= uint64_t{*next++} << have;
      have += 8;
    }
    byte = values[pending & mask];
    bad |= wrong[pending & mask];
    pending >>= bits;
    have -= bits;
  }
  return bad == 0 && pending == 0;
}

}  // namespace

Choice choose_coding(std::span<const uint8_t> bytes) {
  Choice best{Coding::raw, static_cast<int64_t>(bytes.size())};
  const huffman::Counts counts = huffman::count_bytes(bytes);
  const auto entries = static_cast<size_t>(std::count_if(counts.begin(), counts.end(), [](int64_t count) { return count > 0; }));
  if (entries >= 1 && entries <= kMostEntries) {
    const auto size = static_cast<int64_t>(1 + entries + plane_bytes(bytes.size(), index_bits(entries)));
    if (size < best.bytes) best = {Coding::codebook, size};
  }
  if (entries >= 2 && bytes.size() < kMostCoded) {
    const int64_t size = huffman::encoded_bytes(bytes, huffman::code_lengths(counts));
    if (best.bytes - size >= std::max<int64_t>(32, best.bytes / 32)) best = {Coding::huffman, size};
  }
  return best;
}

std::vector<uint8_t> encode(std::span<const uint8_t> bytes, Coding coding) {
  switch (coding) {
    case Coding::raw: break;
    case Coding::codebook: return encode_codebook(bytes);
    case Coding::huffman: return huffman::encode(bytes, huffman::code_lengths(huffman::count_bytes(bytes)));
  }
  return {bytes.begin(), bytes.end()};
}

int64_t most_decoded(Coding coding, int64_t encoded) { return coding == Coding::raw ? encoded : encoded * 8; }

bool decode(std::span<const uint8_t> encoded, Coding coding, std::span<uint8_t> bytes) {
  switch (coding) {
    case Coding::raw: break;
    case Coding::codebook: return decode_codebook(encoded, bytes);
    case Coding::huffman: return huffman::decode(encoded, bytes);
  }
  if (encoded.size() != bytes.size()) return false;
  std::copy(encoded.begin(), encoded.end(), bytes.begin());
  return true;
}

bool may_hold(std::span<const uint8_t> encoded, Coding coding, uint8_t byte) {
  switch (coding) {
    case Coding::raw: return !encoded.empty() && std::memchr(encoded.data(), byte, encoded.size()) != nullptr;
    case Coding::codebook: {
      const auto entries = codebook(encoded);
      return std::find(entries.begin(), entries.end(), byte) != entries.end();
    }
    case Coding::huffman: return huffman::may_hold(encoded, byte);
  }
  return true;
}

}  // namespace niwaki
