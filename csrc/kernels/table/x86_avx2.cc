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
struct Entries {
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

NIWAKI_INLINE Entries entries_of(const uint8_t* table) {
  Entries found;
  for (int half = 0; half < 2; ++half) {
    __m256i before = _mm256_setzero_si256();
    for (int k = 0; k < 8; ++k) {
      const __m256i entries = repeat(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + half * 128 + k * 16)));
      found.half[half][k] = _mm256_xor_si256(entries, before);
      before = entries;
    }
  }
  return found;
}

// An index of the other half is negative from the beginning and adds nothing.
NIWAKI_INLINE __m256i look_up(__m256i index, const Entries& entries) {
  const __m256i low = look_up_half(index, entries.half[0]);
  return _mm256_or_si256(low, look_up_half(_mm256_xor_si256(index, set_bytes(0x80)), entries.half[1]));
}

}  // namespace

#define NIWAKI_TARGET
#include "kernels/table/lookup.inc"

}  // namespace niwaki::table_avx2
#endif
