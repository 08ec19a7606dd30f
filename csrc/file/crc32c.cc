#include "file/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__)
#define NIWAKI_CRC_X86 1
#include <nmmintrin.h>
#endif

namespace niwaki {
namespace {

constexpr uint32_t kReflected = 0x82F63B78u;

// Table k: the effect of a byte that k bytes follow in a group of eight.
constexpr std::array<std::array<uint32_t, 256>, 8> make_tables() {
  std::array<std::array<uint32_t, 256>, 8> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kReflected : 0);
    tables[0][byte] = crc;
  }
  for (size_t k = 1; k < 8; ++k)
    for (size_t byte = 0; byte < 256; ++byte) tables[k][byte] = (tables[k - 1][byte] >> 8) ^ tables[0][tables[k - 1][byte] & 255];
  return tables;
}

constexpr auto kTables = make_tables();

#ifdef NIWAKI_CRC_X86
__attribute__((target("sse4.2"))) uint32_t crc32c_sse42(std::span<const uint8_t> bytes) {
  uint64_t crc = 0xffffffffu;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i, 8);
    crc = _mm_crc32_u64(crc, word);
  }
  auto narrow = static_cast<uint32_t>(crc);
  for (; i < bytes.size(); ++i) narrow = _mm_crc32_u8(narrow, bytes[i]);
  return ~narrow;
}
#endif

}  // namespace

uint32_t crc32c_tables(std::span<const uint8_t> bytes) {
  uint32_t crc = 0xffffffffu;
  size_t i = 0;
  for (; i + 8 <= bytes.size(); i += 8) {
    const uint8_t* b = bytes.data() + i;
    crc = kTables[7][(crc ^ b[0]) & 255] ^ kTables[6][((crc >> 8) ^ b[1]) & 255] ^ kTables[5][((crc >> 16) ^ b[2]) & 255] ^
          kTables[4][(crc >> 24) ^ b[3]] ^ kTables[3][b[4]] ^ kTables[2][b[5]] ^ kTables[1][b[6]] ^ kTables[0][b[7]];
  }
  for (; i < bytes.size(); ++i) crc = (crc >> 8) ^ kTables[0][(crc ^ bytes[i]) & 255];
  return ~crc;
}

uint32_t crc32c(std::span<const uint8_t> bytes) {
#ifdef NIWAKI_CRC_X86
  static const bool fast = __builtin_cpu_supports("sse4.2");
  if (fast) return crc32c_sse42(bytes);
#endif
  return crc32c_tables(bytes);
}

}  // namespace niwaki
