#if defined(__x86_64__)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "x86_avx512vnni.cc is compiled for AVX512-VNNI: see niwaki_isa_flags()."
#endif
#define NIWAKI_SET table_avx512vnni
#include "kernels/table/body.inc"

namespace niwaki::table_avx512vnni {
namespace {

// 128 words of two entries each: the word of index i is number i / 2, for 32 indices at a time (one per word).
NIWAKI_INLINE __m512i words_of(__m512i index, const __m512i table[4]) {
  const __m512i number = _mm512_srli_epi16(index, 1);
  const __m512i low = _mm512_permutex2var_epi16(table[0], number, table[1]);
  const __m512i high = _mm512_permutex2var_epi16(table[2], number, table[3]);
  return _mm512_mask_blend_epi16(_mm512_test_epi16_mask(number, _mm512_set1_epi16(64)), low, high);
}

struct Entries {
  __m512i words[4];
};

NIWAKI_INLINE Entries entries_of(const uint8_t* table) {
  return {{load(table), load(table + 64), load(table + 128), load(table + 192)}};
}

NIWAKI_INLINE __m512i look_up(__m512i index, const Entries& entries) {
  const __m512i low_byte = set_words(255), one = set_words(1);
  const __m512i even = _mm512_and_si512(index, low_byte), odd = _mm512_srli_epi16(index, 8);
  const __m512i from_even = words_of(even, entries.words), from_odd = words_of(odd, entries.words);
  // The entry of an even index is its word's low byte, of an odd one the high byte.
  const __m512i shift_even = _mm512_slli_epi16(_mm512_and_si512(even, one), 3);
  const __m512i shift_odd = _mm512_slli_epi16(_mm512_andnot_si512(odd, one), 3);
  const __m512i low = _mm512_and_si512(_mm512_srlv_epi16(from_even, shift_even), low_byte);
  const __m512i high = _mm512_andnot_si512(low_byte, _mm512_sllv_epi16(from_odd, shift_odd));
  return _mm512_or_si512(low, high);
}

}  // namespace

#define NIWAKI_TARGET
#include "kernels/table/lookup.inc"

}  // namespace niwaki::table_avx512vnni

// The same level on CPUs that permute bytes, too. Every function that uses those instructions says so; table.cc asks the CPU.
namespace niwaki::table_avx512vnni_vbmi {

#define NIWAKI_TARGET __attribute__((target("avx512vbmi")))

namespace {

struct Entries {
  __m512i quarters[4];
};

NIWAKI_TARGET NIWAKI_INLINE Entries entries_of(const uint8_t* table) {
  return {{load(table), load(table + 64), load(table + 128), load(table + 192)}};
}

NIWAKI_TARGET NIWAKI_INLINE __m512i look_up(__m512i index, const Entries& entries) {
  const __m512i low = _mm512_permutex2var_epi8(entries.quarters[0], index, entries.quarters[1]);
  const __m512i high = _mm512_permutex2var_epi8(entries.quarters[2], index, entries.quarters[3]);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
}

}  // namespace

#include "kernels/table/lookup.inc"

void clamp(const uint8_t* in, uint8_t* out, int64_t bytes, uint8_t low, uint8_t high) {
  table_avx512vnni::clamp(in, out, bytes, low, high);
}

}  // namespace niwaki::table_avx512vnni_vbmi
#endif
