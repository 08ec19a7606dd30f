// Constants of the format, shared by reader and writer. docs/file-format.md has the words.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace niwaki::format {

static_assert(std::endian::native == std::endian::little, "numbers are copied between file and memory as they are");

inline constexpr uint8_t kMagic[8] = {0x89, 'N', 'I', 'W', 'A', 'K', 'I', '\n'};
inline constexpr uint32_t kVersion = 3;         // what is written; versions 1 and 2 are read, too
inline constexpr uint32_t kEntriesVersion = 4;  // what is written of entry points with names
inline constexpr uint32_t kRepeatsVersion =
    5;  // what is written where nodes of one entry have the same tensors: see graph/repeats.h
inline constexpr uint32_t kBytesVersion = 6;  // what is written of graphs with plain values of eight bits
inline constexpr uint32_t kLastVersion = kBytesVersion;

struct Header {
  uint8_t magic[8];
  uint32_t version;
  uint32_t zero;
  uint64_t file_bytes;
  uint64_t graph_bytes;  // from byte 64 on
  uint64_t tensors;      // rows of the table
  uint32_t graph_crc;
  uint32_t table_crc;
  uint64_t table_bytes;  // zero in version 1
  uint8_t zeros[4];
  uint32_t header_crc;  // of the 60 bytes before
};
static_assert(sizeof(Header) == 64);

// A row of the tensor table of version 1.
struct Entry1 {
  uint64_t offset;
  uint64_t bytes;
  uint32_t crc;
  uint8_t dtype, form, rank, zero;
  uint64_t shape[4];
  uint8_t zeros[8];
};
static_assert(sizeof(Entry1) == 64);

// In version 1, tables and payloads begin at multiples of so many bytes.
inline constexpr uint64_t kAlignment1 = 64;

constexpr uint64_t align(uint64_t offset, uint64_t alignment) { return (offset + alignment - 1) / alignment * alignment; }

}  // namespace niwaki::format
