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

// Four vectors in order of the unpacks to bytes: see Finish.
NIWAKI_INLINE Ints finish_bytes(const Floats4& t, const Finish& finish) {
  const Ints ab = pack_to_words(finish.rounded(t.a), finish.rounded(t.b)),
             cd = pack_to_words(finish.rounded(t.c), finish.rounded(t.d));
  return finish.bounded(pack_to_bytes(add_words_saturated(ab, finish.zero_words), add_words_saturated(cd, finish.zero_words)));
}

}  // namespace
}  // namespace niwaki
