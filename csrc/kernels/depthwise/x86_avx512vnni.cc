#if defined(__x86_64__)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512DQ__) || !defined(__AVX512VL__)
#error "x86_avx512vnni.cc is compiled for AVX512-VNNI: see niwaki_isa_flags()."
#endif
#include "kernels/common/vector.h"

// Four taps at a time: vpdpbusd sums four neighbouring bytes.
namespace niwaki {
namespace {

constexpr int kTaps = 4;
using Weight = int8_t;

NIWAKI_INLINE void interleave(const Ints taps[kTaps], Ints to[4]) {
  const Ints low01 = unpack_low_bytes(taps[0], taps[1]), high01 = unpack_high_bytes(taps[0], taps[1]);
  const Ints low23 = unpack_low_bytes(taps[2], taps[3]), high23 = unpack_high_bytes(taps[2], taps[3]);
  to[0] = unpack_low_words(low01, low23);
  to[1] = unpack_high_words(low01, low23);
  to[2] = unpack_low_words(high01, high23);
  to[3] = unpack_high_words(high01, high23);
}

// In assembler because GCC 12 copies accumulators around the intrinsic.
template <int>
NIWAKI_INLINE void multiply_add(Ints& sum, Ints taps, Ints weights) {
  __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(taps), "v"(weights));
}

}  // namespace
}  // namespace niwaki

#define NIWAKI_SET depthwise_avx512vnni
#include "kernels/depthwise/body.inc"
#endif
