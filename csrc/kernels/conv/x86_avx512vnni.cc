#if defined(__x86_64__)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512DQ__)
#error "compile this file with the AVX-512 and VNNI flags of cmake/NiwakiCompile.cmake"
#endif

#include <stddef.h>

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

#include "kernels/conv/x86_blocks.inc"

// A block after the other. Of three vectors what dense_blocks leaves: few rows, floats, sums without bounds.
template <typename Tail, bool kOffsets>
void dense_tiles(const DenseTile& whole) {
  if (whole.vectors == kBlockVectors && whole.rows >= kLag && whole.output.out && whole.output.bounded)
    return dense_blocks<Tail, kOffsets>(whole);
  constexpr int32_t kGroups = kDenseOutputs / 4;
  DenseTile tile = whole;
  for (int32_t left = whole.out_groups;; left -= kGroups) {
    tile.out_groups = left < kGroups ? left : kGroups;
    switch (tile.vectors) {
      case 1: dense_tile<1, kDenseOutputs, Tail, kOffsets>(tile); break;
      case 2: dense_tile<2, kDenseOutputs, Tail, kOffsets>(tile); break;
      default: dense_tile<3, kDenseOutputs, Tail, kOffsets, Clamps::floats>(tile); break;
    }
    if (left <= kGroups) return;
    tile.weights += tile.block_bytes;
    tile.bias += kDenseOutputs;
    tile.multiplier += kDenseOutputs;
    tile.output.out += kGroups * tile.output.out_stride;
    if (tile.output.residual) tile.output.residual += kGroups * tile.output.residual_stride;
  }
}

// Six vectors at once, which most tiles have; of four and five, three at a time.
template <bool kOffsets>
void narrow_tiles(DenseTile tile) {
  if (tile.vectors == 6) return dense_tile<6, kNarrowOutputs, NoTail, kOffsets>(tile);
  for (; tile.vectors > 3; tile.vectors -= 3) {
    dense_tile<3, kNarrowOutputs, NoTail, kOffsets>(tile);
    tile.panel += 3 * kPixelBytes;
    if (tile.output.out) tile.output.out += 3 * kPixelBytes;
    if (tile.output.residual) tile.output.residual += 3 * kPixelBytes;
    if (tile.output.out_float) tile.output.out_float += 3 * kLanes;
  }
  switch (tile.vectors) {
    case 1: return dense_tile<1, kNarrowOutputs, NoTail, kOffsets>(tile);
    case 2: return dense_tile<2, kNarrowOutputs, NoTail, kOffsets>(tile);
    default: return dense_tile<3, kNarrowOutputs, NoTail, kOffsets>(tile);
  }
}

}  // namespace

void dense(const DenseTile& tile) {
  if (tile.offsets) tile.tail ? dense_tiles<OnePixel, true>(tile) : dense_tiles<NoTail, true>(tile);
  else tile.tail ? dense_tiles<OnePixel, false>(tile) : dense_tiles<NoTail, false>(tile);
}

void dense_narrow(const DenseTile& tile) { tile.offsets ? narrow_tiles<true>(tile) : narrow_tiles<false>(tile); }

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
