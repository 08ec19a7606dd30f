#if defined(__aarch64__)
#if !defined(__ARM_FEATURE_MATMUL_INT8)
#error "arm_i8mm.cc is compiled for the int8 matrix instructions: see niwaki_isa_flags()."
#endif
#include "kernels/common/vector.h"

namespace niwaki {
namespace {

NIWAKI_INLINE Ints flipped(Ints v) { return v; }

#include "kernels/depthwise/arm_dot.inc"

template <int>
NIWAKI_INLINE void multiply_add(Ints& sum, Ints taps, Ints weights) {
  sum = vusdotq_s32(sum, vreinterpretq_u8_s32(taps), vreinterpretq_s8_s32(weights));
}

}  // namespace
}  // namespace niwaki

#define NIWAKI_SET depthwise_i8mm
#include "kernels/depthwise/body.inc"
#endif
