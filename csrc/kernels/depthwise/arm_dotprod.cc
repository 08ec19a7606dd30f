#if defined(__aarch64__)
#if !defined(__ARM_FEATURE_DOTPROD)
#error "arm_dotprod.cc is compiled for the dot product: see niwaki_isa_flags()."
#endif
#include "kernels/common/vector.h"

namespace niwaki {
namespace {

// SDOT takes signed bytes: see DepthwiseKernel::flip.
NIWAKI_INLINE Ints flipped(Ints v) { return veorq_s32(v, set_bytes(128)); }

#include "kernels/depthwise/arm_dot.inc"

template <int>
NIWAKI_INLINE void multiply_add(Ints& sum, Ints taps, Ints weights) {
  sum = vdotq_s32(sum, vreinterpretq_s8_s32(taps), vreinterpretq_s8_s32(weights));
}

}  // namespace
}  // namespace niwaki

#define NIWAKI_SET depthwise_dotprod
#include "kernels/depthwise/body.inc"
#endif
