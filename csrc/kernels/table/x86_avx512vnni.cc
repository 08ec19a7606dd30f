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

}  // namespace

void lookup(const uint8_t* in, uint8_t* out, int64_t bytes, const uint8_t* table) {
  const __m512i words[4] = {load(table), load(table + 64), load(table + 128), load(table + 192)};
  const __m512i low_byte = set_words(255), one = set_words(1);
  for (int64_t i = 0; i < bytes; i += 64) {
    const __m512i index = load(in + i);
    const __m512i even = _mm512_and_si512(index, low_byte), odd = _mm512_srli_epi16(index, 8);
    const __m512i from_even = words_of(even, words), from_odd = words_of(odd, words);
    // The entry of an even index is its word's low byte, of an odd one the high byte.
    const __m512i shift_even = _mm512_slli_epi16(_mm512_and_si512(even, one), 3);
    const __m512i shift_odd = _mm512_slli_epi16(_mm512_andnot_si512(odd, one), 3);
    const __m512i low = _mm512_and_si512(_mm512_srlv_epi16(from_even, shift_even), low_byte);
    const __m512i high = _mm512_andnot_si512(low_byte, _mm512_sllv_epi16(from_odd, shift_odd));
    store(out + i, _mm512_or_si512(low, high));
  }
}

}  // namespace niwaki::table_avx512vnni

// The same level on CPUs that permute bytes, too. Every function that uses those instructions says so; table.cc asks the CPU.
namespace niwaki::table_avx512vnni_vbmi {

__attribute__((target("avx512vbmi"))) void lookup(const uint8_t* in, uint8_t* out, int64_t bytes, const uint8_t* table) {
  const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
  const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
  for (int64_t i = 0; i < bytes; i += 64) {
    const __m512i index = _mm512_loadu_si512(in + i);
    const __m512i low = _mm512_permutex2var_epi8(t0, index, t1), high = _mm512_permutex2var_epi8(t2, index, t3);
    _mm512_storeu_si512(out + i, _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high));
  }
}

void clamp(const uint8_t* in, uint8_t* out, int64_t bytes, uint8_t low, uint8_t high) {
  table_avx512vnni::clamp(in, out, bytes, low, high);
}

}  // namespace niwaki::table_avx512vnni_vbmi
#endif
