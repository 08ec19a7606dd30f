// Tests under an emulator, which takes ten times as long: what they leave out there. CMakeLists.txt runs them once for each instruction set
// and says in NIWAKI_BEST_ISA which one the emulated CPU must turn out to have.
#pragma once

#include <cstdlib>
#include <vector>

#include "base/arch.h"

namespace niwaki::testing {

inline bool emulated() { return std::getenv("NIWAKI_BEST_ISA") != nullptr; }

// The sets that kernels are swept over: all that this machine can run. An emulated CPU with dotprod leaves scalar and neon to the run on the CPU
// that has nothing better, and so on.
inline std::vector<Isa> swept_isas() {
  const std::vector<Isa>& all = supported_isas();
  if (!emulated() || all.size() <= 2) return all;
  return {all.back()};
}

// Of rounds of random changes, whose number says little.
inline int rounds(int full) { return emulated() ? full / 10 : full; }

}  // namespace niwaki::testing
