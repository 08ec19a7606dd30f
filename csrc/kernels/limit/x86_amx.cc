// tdpbsud on registers of 16 x 64 bytes.
#if defined(__x86_64__)
#if !defined(__AMX_INT8__) && !defined(__AMXINT8__)
#error "compile this file with the flags of cmake/NiwakiCompile.cmake"
#endif
#include <immintrin.h>

#include <cstdint>

namespace niwaki {

// Six independent sums hide the latency of the instruction.
void limit_amx(int64_t turns) {
  struct alignas(64) {
    uint8_t palette = 1, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
  } const shapes;
  __asm__ volatile("" : : "r"(&shapes) : "memory");  // GCC's intrinsic says that only the first eight bytes are read
  _tile_loadconfig(&shapes);                         // all registers are zero then
  for (int64_t turn = 0; turn < turns; ++turn) {
    _tile_dpbsud(0, 6, 7);
    _tile_dpbsud(1, 6, 7);
    _tile_dpbsud(2, 6, 7);
    _tile_dpbsud(3, 6, 7);
    _tile_dpbsud(4, 6, 7);
    _tile_dpbsud(5, 6, 7);
  }
  _tile_release();
}

}  // namespace niwaki
#endif
