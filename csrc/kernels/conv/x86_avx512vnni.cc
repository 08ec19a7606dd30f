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

// A block, or a tile, after the other. Of three vectors what dense_blocks leaves: few rows, floats, sums without bounds.
template <typename Tail, bool kOffsets>
void dense_tiles(const DenseTile& whole) {
  constexpr int32_t kGroups = kDenseOutputs / 4;
  if (whole.vectors == kBlockVectors && whole.rows >= kLag && whole.output.out && whole.output.bounded &&
      (whole.tiles == 1 || whole.out_groups == kGroups))
    return dense_blocks<Tail, kOffsets>(whole);
  const int64_t pixel_bytes = (int64_t{whole.vectors} * kLanes + whole.tail) * 4;
  DenseTile tile = whole;
  for (int32_t left = whole.tiles > 1 ? whole.tiles : whole.out_groups;;) {
    tile.out_groups = whole.tiles > 1 ? whole.out_groups : left < kGroups ? left : kGroups;
    switch (tile.vectors) {
      case 1: dense_tile<1, kDenseOutputs, Tail, kOffsets>(tile); break;
      case 2: dense_tile<2, kDenseOutputs, Tail, kOffsets>(tile); break;
      default: dense_tile<3, kDenseOutputs, Tail, kOffsets, Clamps::floats>(tile); break;
    }
    left -= whole.tiles > 1 ? 1 : kGroups;
    if (left <= 0) return;
    if (whole.tiles > 1) {
      tile.panel += pixel_bytes;
      tile.output.out += pixel_bytes;
      if (tile.output.residual) tile.output.residual += pixel_bytes;
      continue;
    }
    tile.weights += tile.block_bytes;
    tile.bias += kDenseOutputs;
    tile.multiplier += kDenseOutputs;
    tile.output.out += kGroups * tile.output.out_stride;
    if (tile.output.residual) tile.output.residual += kGroups * tile.output.residual_stride;
  }
}

// Up to kNarrowTail pixels: four outputs of each are one vector, a pixel in each 128 bits, whose weights are the same.
class FewPixels {
 public:
  explicit FewPixels(const DenseTile& tile) : sums_(repeat(quad::load_ints(tile.bias))) {}

  NIWAKI_MEMBER void mac(const uint8_t* pixels, const uint8_t* weights) {
    const Ints lanes = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    V::mac(sums_, permute_lanes(_mm512_castsi128_si512(quad::load_ints(pixels)), lanes), repeat(quad::load_ints(weights)));
  }
  void store(const DenseTile& tile) const {
    const ConvOutput& output = tile.output;
    const int64_t pixel = int64_t{tile.vectors} * kLanes;
    const Floats multiplier = repeat(quad::load_floats(tile.multiplier));
    if (output.out_float) {
      float floats[kLanes];
      store_floats(floats, mul(to_floats(sums_), multiplier));
      for (int p = 0; p < tile.tail; ++p)
        for (int o = 0; o < kNarrowOutputs; ++o) output.out_float[o * output.float_stride + pixel + p] = floats[p * 4 + o];
      return;
    }
    const Limits limits = limits_of(output);
    const Ints q = output.residual
                       ? rounded<true, Clamp::floats>(sums_, multiplier, limits, load_bytes(output.residual + pixel * 4))
                       : rounded<false, Clamp::floats>(sums_, multiplier, limits, sums_);
    const Ints words = pack_words<Clamp::floats>(q, q, limits);
    // Each 128 bits hold the four bytes of a pixel, four times.
    const Ints bytes = permute_lanes(pack_bytes<Clamp::floats>(words, words, limits),
                                     _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 8, 4, 0));
    store_masked(output.out + pixel * 4, mask_of((1u << tile.tail) - 1), bytes);
  }

 private:
  Ints sums_;
};

template <int kVectors, typename Tail = NoTail>
void narrow_tile(const DenseTile& tile, int64_t first) {
  dense_tile<kVectors, kNarrowOutputs, Tail, true>(tile, first);
}

}  // namespace

void dense(const DenseTile& tile) {
  if (tile.offsets) tile.tail ? dense_tiles<OnePixel, true>(tile) : dense_tiles<NoTail, true>(tile);
  else tile.tail ? dense_tiles<OnePixel, false>(tile) : dense_tiles<NoTail, false>(tile);
}

// Six vectors at a time, and at the end in such parts that few have less than three: the multiplies of one vector wait for each other.
void dense_narrow(const DenseTile& tile) {
  const int64_t last = tile.tail == 0 ? 0 : tile.vectors == 4 ? 2 : tile.vectors < 3 ? tile.vectors : 3;  // with the tail
  int64_t first = 0;
  for (const int64_t end = tile.vectors - last; first < end;) {
    switch (end - first) {
      case 1: narrow_tile<1>(tile, first), first += 1; break;
      case 2: narrow_tile<2>(tile, first), first += 2; break;
      case 3:
      case 5: narrow_tile<3>(tile, first), first += 3; break;
      case 4:
      case 7:
      case 8:
      case 11: narrow_tile<4>(tile, first), first += 4; break;
      default: narrow_tile<6>(tile, first), first += 6; break;
    }
  }
  switch (last) {
    case 1: return narrow_tile<1, FewPixels>(tile, first);
    case 2: return narrow_tile<2, FewPixels>(tile, first);
    case 3: return narrow_tile<3, FewPixels>(tile, first);
    default: return;
  }
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
