#if defined(__aarch64__)
#define NIWAKI_SET table_neon
#include "kernels/table/body.inc"

namespace niwaki::table_neon {

// A quarter of the table is four registers. An index past them leaves what was found before (TBX), or gives zero the first time (TBL).
void lookup(const uint8_t* in, uint8_t* out, int64_t bytes, const uint8_t* table) {
  const uint8x16x4_t first = vld1q_u8_x4(table), second = vld1q_u8_x4(table + 64);
  const uint8x16x4_t third = vld1q_u8_x4(table + 128), fourth = vld1q_u8_x4(table + 192);
  const uint8x16_t quarter = vdupq_n_u8(64), half = vdupq_n_u8(128), three = vdupq_n_u8(192);
  for (int64_t i = 0; i < bytes; i += kVectorBytes) {
    const uint8x16_t index = vld1q_u8(in + i);
    uint8x16_t found = vqtbl4q_u8(first, index);
    found = vqtbx4q_u8(found, second, vsubq_u8(index, quarter));
    found = vqtbx4q_u8(found, third, vsubq_u8(index, half));
    vst1q_u8(out + i, vqtbx4q_u8(found, fourth, vsubq_u8(index, three)));
  }
}

}  // namespace niwaki::table_neon
#endif
