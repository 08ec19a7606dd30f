#if defined(__x86_64__)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512DQ__)
#error "compile this file with the AVX-512 and VNNI flags of cmake/NiwakiCompile.cmake"
#endif

#include "kernels/common/vector.h"
#include "kernels/conv/finish.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx512vnni {
namespace {

#include "kernels/conv/x86_vnni.inc"

#include "kernels/conv/x86_body.inc"
#include "kernels/conv/x86_dense.inc"
#include "kernels/conv/x86_wide.inc"
#include "kernels/conv/x86_pick.inc"

constexpr int kDenseOutputs = 8;

// A single pixel: eight outputs are one vector of 256 bits, whose weights lie beside each other.
class OnePixel {
 public:
  explicit OnePixel(const DenseTile& tile) : sums_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile.bias))) {}

  NIWAKI_MEMBER void mac(const uint8_t* pixel, const uint8_t* weights) {
    int32_t four;
    __builtin_memcpy(&four, pixel, 4);
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums_) : "v"(_mm256_set1_epi32(four)), "v"(w));
  }
  void store(const DenseTile& tile) const { store_last_pixel(tile, _mm512_zextsi256_si512(sums_)); }

 private:
  __m256i sums_;
};

template <int kOutputs, typename Tail, bool kOffsets>
void dense_tiles(const DenseTile& tile) {
  switch (tile.vectors) {
    case 1: return dense_tile<1, kOutputs, Tail, kOffsets>(tile);
    case 2: return dense_tile<2, kOutputs, Tail, kOffsets>(tile);
    default: return dense_tile<3, kOutputs, Tail, kOffsets>(tile);
  }
}

}  // namespace

void dense(const DenseTile& tile) {
  if (tile.offsets) tile.tail ? dense_tiles<kDenseOutputs, OnePixel, true>(tile) : dense_tiles<kDenseOutputs, NoTail, true>(tile);
  else tile.tail ? dense_tiles<kDenseOutputs, OnePixel, false>(tile) : dense_tiles<kDenseOutputs, NoTail, false>(tile);
}

void dense_narrow(const DenseTile& tile) {
  tile.offsets ? dense_tiles<kNarrowOutputs, NoTail, true>(tile) : dense_tiles<kNarrowOutputs, NoTail, false>(tile);
}

void wide(const WideTile& tile) {
  switch (tile.pixels) {
    case 1: return wide_tile<1, 4>(tile);
    case 2: return wide_tile<2, 4>(tile);
    case 3: return wide_tile<3, 4>(tile);
    case 4: return wide_tile<4, 4>(tile);
    case 5: return wide_tile<5, 4>(tile);
    default: return wide_tile<6, 4>(tile);
  }
}

void pick(const PickTile& tile) { pick_tile(tile); }

}  // namespace niwaki::conv_avx512vnni
#endif
