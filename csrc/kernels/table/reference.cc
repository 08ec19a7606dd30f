// Any function of one byte, in plain C++: what the other kernels must equal.
#include <stdint.h>

namespace niwaki::table_scalar {

void lookup(const uint8_t* in, uint8_t* out, int64_t bytes, const uint8_t* table) {
  for (int64_t i = 0; i < bytes; ++i) out[i] = table[in[i]];
}

void rows(uint8_t* data, int64_t stride, int64_t bytes, int64_t count, const uint8_t* table) {
  for (int64_t row = 0; row < count; ++row, data += stride) lookup(data, data, bytes, table);
}

void clamp(const uint8_t* in, uint8_t* out, int64_t bytes, uint8_t low, uint8_t high) {
  for (int64_t i = 0; i < bytes; ++i) out[i] = in[i] < low ? low : in[i] > high ? high : in[i];
}

}  // namespace niwaki::table_scalar
