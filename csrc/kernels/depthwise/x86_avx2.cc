#if defined(__x86_64__)
#if !defined(__AVX2__) || defined(__AVX512F__)
#error "x86_avx2.cc is compiled for AVX2: see niwaki_isa_flags()."
#endif
#include "kernels/common/vector.h"

// Two taps at a time, widened to 16 bits, because vpmaddubsw would saturate: vpmaddwd is exact.
namespace niwaki {
namespace {

constexpr int kTaps = 2;
using Weight = int16_t;

NIWAKI_INLINE void interleave(const Ints taps[kTaps], Ints to[4]) {
  const Ints nothing = set_ints(0);
  const Ints low = unpack_low_bytes(taps[0], taps[1]), high = unpack_high_bytes(taps[0], taps[1]);
  to[0] = unpack_low_bytes(low, nothing);
  to[1] = unpack_high_bytes(low, nothing);
  to[2] = unpack_low_bytes(high, nothing);
  to[3] = unpack_high_bytes(high, nothing);
}

template <int>
NIWAKI_INLINE void multiply_add(Ints& sum, Ints taps, Ints weights) {
  sum = add_ints(sum, _mm256_madd_epi16(taps, weights));
}

}  // namespace
}  // namespace niwaki

#define NIWAKI_SET depthwise_avx2
#include "kernels/depthwise/body.inc"
#endif
