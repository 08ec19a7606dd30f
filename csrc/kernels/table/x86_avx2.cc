#if defined(__x86_64__)
#if !defined(__AVX2__) || defined(__AVX512F__)
#error "x86_avx2.cc is compiled for AVX2: see niwaki_isa_flags()."
#endif
#define NIWAKI_SET table_avx2
#include "kernels/table/body.inc"

namespace niwaki::table_avx2 {
namespace {

// The sixteen entries with high nibble k, each xor-ed with its forerunner's: while an index goes down by 16 per step, vpshufb
// gives zero as soon as it is negative, so the xor over the steps ends at the entry looked for.
struct Steps {
  __m256i half[2][8];
};

NIWAKI_INLINE __m256i look_up_half(__m256i index, const __m256i steps[8]) {
  const __m256i sixteen = _mm256_set1_epi8(16);
  __m256i found = _mm256_shuffle_epi8(steps[0], index);
#pragma GCC unroll 8
  for (int k = 1; k < 8; ++k) {
    index = _mm256_subs_epi8(index, sixteen);
    found = _mm256_xor_si256(found, _mm256_shuffle_epi8(steps[k], index));
  }
  return found;
}

}  // namespace

void lookup(const uint8_t* in, uint8_t* out, int64_t bytes, const uint8_t* table) {
  Steps steps;
  for (int half = 0; half < 2; ++half) {
    __m256i before = _mm256_setzero_si256();
    for (int k = 0; k < 8; ++k) {
      const __m256i entries = repeat(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + half * 128 + k * 16)));
      steps.half[half][k] = _mm256_xor_si256(entries, before);
      before = entries;
    }
  }
  const __m256i sign = set_bytes(0x80);
  for (int64_t i = 0; i < bytes; i += kVectorBytes) {
    const __m256i index = load(in + i);
    // An index of the other half is negative from the beginning and adds nothing.
    const __m256i low = look_up_half(index, steps.half[0]), high = look_up_half(_mm256_xor_si256(index, sign), steps.half[1]);
    store(out + i, _mm256_or_si256(low, high));
  }
}

}  // namespace niwaki::table_avx2
#endif
