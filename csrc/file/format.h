// Constants of the format, shared by reader and writer. docs/file-format.md has the words.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace niwaki::format {

static_assert(std::endian::native == std::endian::little, "numbers are copied between file and memory as they are");

inline constexpr uint8_t kMagic[8] = {0x89, 'N', 'I', 'W', 'A', 'K', 'I', '\n'};
inline constexpr uint32_t kVersion = 1;
inline constexpr size_t kAlignment = 64;

struct Header {
  uint8_t magic[8];
  uint32_t version;
  uint32_t zero;
  uint64_t file_bytes;
  uint64_t graph_bytes;  // from byte 64 on
  uint64_t tensors;      // entries of the table, which begins at the next multiple of 64
  uint32_t graph_crc;
  uint32_t table_crc;
  uint8_t zeros[12];
  uint32_t header_crc;  // of the 60 bytes before
};
static_assert(sizeof(Header) == 64);

struct Entry {
  uint64_t offset;  // of the payload: the first multiple of 64 after what comes before it
  uint64_t bytes;
  uint32_t crc;
  uint8_t dtype, form, rank, zero;
  uint64_t shape[4];
  uint8_t zeros[8];
};
static_assert(sizeof(Entry) == 64);

constexpr uint64_t align(uint64_t offset) { return (offset + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace niwaki::format
