#include <cstdint>

namespace niwaki {

// An empty asm makes the compiler forget what it knows of a register, so that it can neither do the sums beforehand nor drop
// them.
#if defined(__GNUC__)
#define NIWAKI_OPAQUE(variable) asm volatile("" : "+r"(variable))
#else
#define NIWAKI_OPAQUE(variable) (void)*static_cast<volatile uint32_t*>(&variable)
#endif

void limit_scalar(int64_t turns) {
  uint32_t source = 3, weight = 2, sums[8] = {};
  for (int64_t turn = 0; turn < turns; ++turn) {
    for (int repeat = 0; repeat < 8; ++repeat) {
      for (uint32_t& sum : sums) {
        NIWAKI_OPAQUE(source);
        sum += source * weight;
      }
    }
    NIWAKI_OPAQUE(weight);
  }
  for (uint32_t& sum : sums) NIWAKI_OPAQUE(sum);
}

}  // namespace niwaki
