#if defined(__x86_64__)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512DQ__)
#error "compile this file with the AVX-512 and VNNI flags of cmake/NiwakiCompile.cmake"
#endif

#include <immintrin.h>

#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx512vnni {
namespace {

#include "kernels/conv/x86_zmm.inc"

#include "kernels/conv/x86_body.inc"
#include "kernels/conv/x86_wide.inc"

constexpr int kDenseOutputs = 8;

// A single pixel: eight outputs are one vector of 256 bits, whose weights lie beside each other.
class OnePixel {
 public:
  explicit OnePixel(const DenseTile& tile) : sums_(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(tile.bias))) {}

  NIWAKI_INLINE void mac(const uint8_t* pixel, const uint8_t* weights) {
    int32_t four;
    __builtin_memcpy(&four, pixel, 4);
    const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sums_) : "v"(_mm256_set1_epi32(four)), "v"(w));
  }

  void store(const DenseTile& tile) const {
    const ConvOutput& output = tile.output;
    const int64_t pixel = int64_t{tile.vectors} * V::kLanes;
    __m256 t = _mm256_mul_ps(_mm256_cvtepi32_ps(sums_), _mm256_loadu_ps(tile.multiplier));
    if (output.out_float) {
      float floats[kDenseOutputs];
      _mm256_storeu_ps(floats, t);
      for (int o = 0; o < tile.out_groups * 4; ++o) output.out_float[o * output.float_stride + pixel] = floats[o];
      return;
    }
    if (output.residual) {
      int32_t groups[2] = {0, 0};
      for (int g = 0; g < tile.out_groups; ++g)
        __builtin_memcpy(&groups[g], output.residual + g * output.residual_stride + pixel * 4, 4);
      const __m256i q = _mm256_sub_epi32(_mm256_cvtepu8_epi32(_mm_setr_epi32(groups[0], groups[1], 0, 0)),
                                         _mm256_set1_epi32(output.residual_zero));
      t = _mm256_add_ps(t, _mm256_mul_ps(_mm256_cvtepi32_ps(q), _mm256_set1_ps(output.residual_scale)));
    }
    t = _mm256_min_ps(_mm256_max_ps(t, _mm256_set1_ps(output.low)), _mm256_set1_ps(output.high));
    const __m128i bytes = _mm256_cvtepi32_epi8(_mm256_add_epi32(_mm256_cvtps_epi32(t), _mm256_set1_epi32(output.out_zero)));
    const int32_t groups[2] = {_mm_extract_epi32(bytes, 0), _mm_extract_epi32(bytes, 1)};
    for (int g = 0; g < tile.out_groups; ++g) __builtin_memcpy(output.out + g * output.out_stride + pixel * 4, &groups[g], 4);
  }

 private:
  __m256i sums_;
};

template <typename Tail, bool kOffsets>
void dense_tiles(const DenseTile& tile) {
  switch (tile.vectors) {
    case 1: return dense_tile<1, kDenseOutputs, Tail, kOffsets>(tile);
    case 2: return dense_tile<2, kDenseOutputs, Tail, kOffsets>(tile);
    default: return dense_tile<3, kDenseOutputs, Tail, kOffsets>(tile);
  }
}

}  // namespace

void dense(const DenseTile& tile) {
  if (tile.offsets) tile.tail ? dense_tiles<OnePixel, true>(tile) : dense_tiles<NoTail, true>(tile);
  else tile.tail ? dense_tiles<OnePixel, false>(tile) : dense_tiles<NoTail, false>(tile);
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

}  // namespace niwaki::conv_avx512vnni
#endif
