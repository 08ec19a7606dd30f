#if defined(__aarch64__)
#include "kernels/common/vector.h"

// One tap at a time, widened to 16 bits: SMLAL multiplies the four channels of a pixel and adds to 32 bits. Widening is shared by the kernel's
// rows.
namespace niwaki {
namespace {

constexpr int kTaps = 1;
using Weight = int16_t;

// Pixels 0 and 1 in to[0] and to[1], 2 and 3 in to[2] and to[3].
NIWAKI_INLINE void interleave(const Ints taps[kTaps], Ints to[4]) {
  const uint8x16_t bytes = bytes_of(taps[0]);
  to[0] = to[1] = ints_of(vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(bytes))));
  to[2] = to[3] = ints_of(vreinterpretq_s16_u16(vmovl_high_u8(bytes)));
}

// The weights of the four channels lie in both halves.
template <int kPixel>
NIWAKI_INLINE void multiply_add(Ints& sum, Ints taps, Ints weights) {
  if constexpr (kPixel % 2 == 0) sum = vmlal_s16(sum, vget_low_s16(words_of(taps)), vget_low_s16(words_of(weights)));
  else sum = vmlal_high_s16(sum, words_of(taps), words_of(weights));
}

}  // namespace
}  // namespace niwaki

#define NIWAKI_SET depthwise_neon
#include "kernels/depthwise/body.inc"
#endif
