// CRC-32C (Castagnoli): polynomial 0x1EDC6F41, reflected, as in iSCSI and ext4.
#pragma once

#include <cstdint>
#include <span>

namespace niwaki {

uint32_t crc32c(std::span<const uint8_t> bytes);
uint32_t crc32c_tables(std::span<const uint8_t> bytes);  // the same without special instructions

}  // namespace niwaki
