#if defined(__aarch64__)
#define NIWAKI_SET table_neon
#include "kernels/table/body.inc"

namespace niwaki::table_neon {
namespace {

// A quarter of the table is four registers.
struct Entries {
  uint8x16x4_t quarters[4];
};

NIWAKI_INLINE Entries entries_of(const uint8_t* table) {
  return {{vld1q_u8_x4(table), vld1q_u8_x4(table + 64), vld1q_u8_x4(table + 128), vld1q_u8_x4(table + 192)}};
}

// An index past a quarter leaves what was found before (TBX), or gives zero the first time (TBL).
NIWAKI_INLINE Ints look_up(Ints v, const Entries& entries) {
  const uint8x16_t index = vreinterpretq_u8_s32(v);
  uint8x16_t found = vqtbl4q_u8(entries.quarters[0], index);
  found = vqtbx4q_u8(found, entries.quarters[1], vsubq_u8(index, vdupq_n_u8(64)));
  found = vqtbx4q_u8(found, entries.quarters[2], vsubq_u8(index, vdupq_n_u8(128)));
  found = vqtbx4q_u8(found, entries.quarters[3], vsubq_u8(index, vdupq_n_u8(192)));
  return vreinterpretq_s32_u8(found);
}

}  // namespace

#define NIWAKI_TARGET
#include "kernels/table/lookup.inc"

}  // namespace niwaki::table_neon
#endif
