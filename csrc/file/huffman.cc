#include "file/huffman.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <optional>

namespace niwaki::huffman {
namespace {

constexpr size_t kTable = size_t{1} << kLongest;
constexpr int kAtOnce = 5;  // codes in the 57 bits or more that one load brings

// Bytes in the order of their codes: as signed numbers, so that the small weights of a layer are neighbours.
constexpr uint8_t byte_at(int rank) { return static_cast<uint8_t>(rank ^ 0x80); }
constexpr int rank_of(uint8_t byte) { return byte ^ 0x80; }

size_t stream_begin(size_t bytes, size_t stream) { return bytes / kStreams * stream + std::min(stream, bytes % kStreams); }

// Codes by byte, first bit lowest.
std::array<uint16_t, 256> make_codes(const Lengths& lengths) {
  std::array<uint16_t, 256> codes{};
  unsigned code = 0;
  for (int length = 1; length <= kLongest; ++length, code <<= 1)
    for (int rank = 0; rank < 256; ++rank) {
      if (lengths[byte_at(rank)] != length) continue;
      unsigned reversed = 0;
      for (int bit = 0; bit < length; ++bit) reversed |= ((code >> bit) & 1u) << (length - 1 - bit);
      codes[byte_at(rank)] = static_cast<uint16_t>(reversed);
      ++code;
    }
  return codes;
}

// Every sequence of bits is a sequence of codes.
bool complete(const Lengths& lengths) {
  size_t used = 0;
  for (const uint8_t length : lengths)
    if (length > 0) used += kTable >> length;
  return used == kTable;
}

// By the next kLongest bits: the byte in the low half, the length of its code in the high half.
using Table = std::array<uint16_t, kTable>;

Table make_table(const Lengths& lengths) {
  const auto codes = make_codes(lengths);
  Table table;
  for (size_t byte = 0; byte < 256; ++byte)
    if (lengths[byte] > 0)
      for (size_t i = codes[byte]; i < kTable; i += size_t{1} << lengths[byte])
        table[i] = static_cast<uint16_t>(byte | size_t{lengths[byte]} << 8);
  return table;
}

// The lowest and highest rank with a code.
std::pair<int, int> ends(const Lengths& lengths) {
  int first = 0, last = 255;
  while (lengths[byte_at(first)] == 0) ++first;
  while (lengths[byte_at(last)] == 0) --last;
  return {first, last};
}

size_t head_bytes(int first, int last) { return 2 + static_cast<size_t>(last - first + 2) / 2 + 4 * (kStreams - 1); }

struct Head {
  Lengths lengths{};
  std::array<std::span<const uint8_t>, kStreams> streams;
};

std::optional<Head> read_head(std::span<const uint8_t> encoded) {
  if (encoded.size() < 2) return std::nullopt;
  const int first = rank_of(encoded[0]), last = rank_of(encoded[1]);
  if (first >= last || encoded.size() < head_bytes(first, last)) return std::nullopt;
  Head head;
  const uint8_t* nibbles = encoded.data() + 2;
  const int count = last - first + 1;
  for (int i = 0; i < count; ++i) {
    const auto length = static_cast<uint8_t>((nibbles[i / 2] >> (i % 2 * 4)) & 15);
    if (length > kLongest || (length == 0 && (i == 0 || i == count - 1))) return std::nullopt;
    head.lengths[byte_at(first + i)] = length;
  }
  if (count % 2 == 1 && (nibbles[count / 2] >> 4) != 0) return std::nullopt;
  if (!complete(head.lengths)) return std::nullopt;
  const uint8_t* sizes = nibbles + (count + 1) / 2;
  std::span<const uint8_t> rest = encoded.subspan(head_bytes(first, last));
  for (size_t stream = 0; stream + 1 < kStreams; ++stream, sizes += 4) {
    uint32_t size;
    std::memcpy(&size, sizes, 4);
    if (size > rest.size()) return std::nullopt;
    head.streams[stream] = rest.first(size);
    rest = rest.subspan(size);
  }
  head.streams[kStreams - 1] = rest;
  return head;
}

struct Reader {
  const uint8_t* data;
  size_t size;
  size_t position;  // in bits
  uint8_t* out;
  uint8_t* end;

  bool whole() const { return (position >> 3) + 8 <= size && end - out >= kAtOnce; }
  uint64_t load() const {
    uint64_t bits;
    std::memcpy(&bits, data + (position >> 3), 8);
    return bits >> (position & 7);
  }
  // As `load`, with zeros after the end.
  uint64_t load_tail() const {
    uint64_t bits = 0;
    const size_t at = position >> 3;
    if (at < size) std::memcpy(&bits, data + at, std::min<size_t>(8, size - at));
    return bits >> (position & 7);
  }
  // All bits are used, but for those that fill the last byte, which are zero.
  bool exhausted() const { return (position + 7) / 8 == size && (position % 8 == 0 || (data[size - 1] >> (position % 8)) == 0); }
};

void decode_tail(Reader& in, const Table& table) {
  while (in.out < in.end && in.position <= in.size * 8) {
    const uint16_t code = table[in.load_tail() & (kTable - 1)];
    *in.out++ = static_cast<uint8_t>(code);
    in.position += code >> 8;
  }
}

}  // namespace

Counts count_bytes(std::span<const uint8_t> bytes) {
  // Two halves: equal bytes in a row would wait for each other's count.
  Counts even{}, odd{};
  size_t i = 0;
  for (; i + 1 < bytes.size(); i += 2) ++even[bytes[i]], ++odd[bytes[i + 1]];
  if (i < bytes.size()) ++even[bytes[i]];
  for (size_t byte = 0; byte < 256; ++byte) even[byte] += odd[byte];
  return even;
}

// Package-merge (Larmore and Hirschberg, 1990): a byte's code gets a bit longer each time that the byte is in one of the
// cheapest 2 (n - 1) packages of the last level.
Lengths code_lengths(const Counts& counts) {
  struct Package {
    int64_t weight;
    std::vector<uint8_t> bytes;
  };
  std::vector<Package> leaves;
  for (size_t byte = 0; byte < 256; ++byte)
    if (counts[byte] > 0) leaves.push_back({counts[byte], {static_cast<uint8_t>(byte)}});
  const auto lighter = [](const Package& a, const Package& b) { return a.weight < b.weight; };
  std::stable_sort(leaves.begin(), leaves.end(), lighter);
  std::vector<Package> level = leaves;
  for (int bit = 1; bit < kLongest; ++bit) {
    std::vector<Package> pairs;
    for (size_t i = 0; i + 1 < level.size(); i += 2) {
      pairs.push_back({level[i].weight + level[i + 1].weight, std::move(level[i].bytes)});
      pairs.back().bytes.insert(pairs.back().bytes.end(), level[i + 1].bytes.begin(), level[i + 1].bytes.end());
    }
    level.clear();
    std::merge(leaves.begin(), leaves.end(), pairs.begin(), pairs.end(), std::back_inserter(level), lighter);
  }
  Lengths lengths{};
  for (size_t i = 0; i < 2 * (leaves.size() - 1); ++i)
    for (const uint8_t byte : level[i].bytes) ++lengths[byte];
  return lengths;
}

int64_t encoded_bytes(std::span<const uint8_t> bytes, const Lengths& lengths) {
  const auto [first, last] = ends(lengths);
  auto size = static_cast<int64_t>(head_bytes(first, last));
  for (size_t stream = 0; stream < kStreams; ++stream) {
    const size_t begin = stream_begin(bytes.size(), stream), end = stream_begin(bytes.size(), stream + 1);
    const Counts counts = count_bytes(bytes.subspan(begin, end - begin));
    int64_t bits = 0;
    for (size_t byte = 0; byte < 256; ++byte) bits += counts[byte] * lengths[byte];
    size += (bits + 7) / 8;
  }
  return size;
}

std::vector<uint8_t> encode(std::span<const uint8_t> bytes, const Lengths& lengths) {
  const auto codes = make_codes(lengths);
  const auto [first, last] = ends(lengths);
  std::vector<uint8_t> out(head_bytes(first, last), 0);
  out[0] = byte_at(first), out[1] = byte_at(last);
  for (int rank = first; rank <= last; ++rank)
    out[2 + static_cast<size_t>(rank - first) / 2] |= static_cast<uint8_t>(lengths[byte_at(rank)] << ((rank - first) % 2 * 4));
  uint8_t* sizes = out.data() + out.size() - 4 * (kStreams - 1);
  std::array<uint32_t, kStreams> stream_sizes{};
  const auto sizes_at = static_cast<size_t>(sizes - out.data());
  for (size_t stream = 0; stream < kStreams; ++stream) {
    const size_t before = out.size();
    uint64_t pending = 0;
    int have = 0;
    for (size_t i = stream_begin(bytes.size(), stream); i < stream_begin(bytes.size(), stream + 1); ++i) {
      pending |= uint64_t{codes[bytes[i]]} << have;
      for (have += lengths[bytes[i]]; have >= 8; have -= 8, pending >>= 8) out.push_back(static_cast<uint8_t>(pending));
    }
    if (have > 0) out.push_back(static_cast<uint8_t>(pending));
    stream_sizes[stream] = static_cast<uint32_t>(out.size() - before);
  }
  std::memcpy(out.data() + sizes_at, stream_sizes.data(), 4 * (kStreams - 1));
  return out;
}

bool decode(std::span<const uint8_t> encoded, std::span<uint8_t> bytes) {
  const auto head = read_head(encoded);
  if (!head) return false;
  const auto table = make_table(head->lengths);
  std::array<Reader, kStreams> in;
  for (size_t i = 0; i < kStreams; ++i)
    in[i] = {head->streams[i].data(), head->streams[i].size(), 0, bytes.data() + stream_begin(bytes.size(), i),
             bytes.data() + stream_begin(bytes.size(), i + 1)};
  // A code waits for the one before it; four streams keep the machine busy meanwhile.
  Reader a = in[0], b = in[1], c = in[2], d = in[3];
  while (a.whole() && b.whole() && c.whole() && d.whole()) {
    uint64_t wa = a.load(), wb = b.load(), wc = c.load(), wd = d.load();
#pragma GCC unroll 5
    for (int k = 0; k < kAtOnce; ++k) {
      const uint16_t ca = table[wa & (kTable - 1)], cb = table[wb & (kTable - 1)];
      const uint16_t cc = table[wc & (kTable - 1)], cd = table[wd & (kTable - 1)];
      a.out[k] = static_cast<uint8_t>(ca), b.out[k] = static_cast<uint8_t>(cb);
      c.out[k] = static_cast<uint8_t>(cc), d.out[k] = static_cast<uint8_t>(cd);
      wa >>= ca >> 8, wb >>= cb >> 8, wc >>= cc >> 8, wd >>= cd >> 8;
      a.position += ca >> 8, b.position += cb >> 8, c.position += cc >> 8, d.position += cd >> 8;
    }
    a.out += kAtOnce, b.out += kAtOnce, c.out += kAtOnce, d.out += kAtOnce;
  }
  in = {a, b, c, d};
  for (Reader& reader : in) {
    decode_tail(reader, table);
    if (reader.out != reader.end || !reader.exhausted()) return false;
  }
  return true;
}

bool may_hold(std::span<const uint8_t> encoded, uint8_t byte) {
  const auto head = read_head(encoded);
  return head && head->lengths[byte] > 0;
}

}  // namespace niwaki::huffman
