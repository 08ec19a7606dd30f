// The vector operations of the architecture that is compiled for: kernels are written once over them.
#pragma once

#if defined(__aarch64__)
#include "kernels/common/arm_vector.h"
#else
#include "kernels/common/x86_vector.h"
#endif

#include <stdint.h>

namespace niwaki {
namespace {

constexpr int kVectorBytes = kLanes * 4;

// Lanes [begin, end), both of them cut to the vector.
NIWAKI_INLINE Mask mask_range(int64_t begin, int64_t end) {
  begin = begin < 0 ? 0 : begin > kLanes ? kLanes : begin;
  end = end < 0 ? 0 : end > kLanes ? kLanes : end;
  return mask_of(((1u << end) - 1) & ~((1u << begin) - 1));
}

// Pixel 0 to 3 of each 128 bits, its four channels widened to the lanes there.
NIWAKI_INLINE Ints pixel_of(Ints pixels, int index) {
  const Ints zero = set_ints(0), words = index < 2 ? unpack_low_bytes(pixels, zero) : unpack_high_bytes(pixels, zero);
  return index % 2 == 0 ? unpack_low_words(words, zero) : unpack_high_words(words, zero);
}

struct Floats4 {
  Floats a, b, c, d;
};

// kTwo23 + byte, as floats, in order of the unpacks. A byte under the exponent of 2^23 is that float: no conversion. Subtracting
// kTwo23 + zero is exact.
constexpr float kTwo23 = 8388608.0f;
NIWAKI_INLINE Floats4 bytes_over_two23(Ints bytes) {
  const Ints exponent = set_words(0x4b00), nothing = set_ints(0);
  const Ints low = unpack_low_bytes(bytes, nothing), high = unpack_high_bytes(bytes, nothing);
  return {as_floats(unpack_low_words(low, exponent)), as_floats(unpack_high_words(low, exponent)),
          as_floats(unpack_low_words(high, exponent)), as_floats(unpack_high_words(high, exponent))};
}

// As Finish, to 32-bit lanes of 0 to 255: for those who put bytes together by shifts, or pack what needs no more than that.
struct FinishLanes {
  Floats low, high;
  Ints zero;
  static NIWAKI_MEMBER FinishLanes of(int32_t zero_point, int32_t least, int32_t most) {
    return {set_floats(static_cast<float>(least - zero_point)), set_floats(static_cast<float>(most - zero_point)),
            set_ints(zero_point)};
  }
  // max gives its second argument where the first is not a number: the lower bound.
  NIWAKI_MEMBER Ints operator()(Floats t) const { return add_ints(round_to_ints(min(niwaki::max(t, low), high)), zero); }
};

// Channels 0 to 3, 32-bit lanes of 0 to 255, side by side.
NIWAKI_INLINE Ints join_channels(Ints c0, Ints c1, Ints c2, Ints c3) {
  return bits_or(bits_or(c0, shift_left<8>(c1)), bits_or(shift_left<16>(c2), shift_left<24>(c3)));
}

// Four vectors in order of the unpacks to bytes: see Finish.
NIWAKI_INLINE Ints finish_bytes(const Floats4& t, const Finish& finish) {
  const Ints ab = pack_to_words(finish.rounded(t.a), finish.rounded(t.b)),
             cd = pack_to_words(finish.rounded(t.c), finish.rounded(t.d));
  return finish.bounded(pack_to_bytes(add_words_saturated(ab, finish.zero_words), add_words_saturated(cd, finish.zero_words)));
}

}  // namespace
}  // namespace niwaki
