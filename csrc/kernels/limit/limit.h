// The limit of int8 arithmetic on one core: multiply-accumulates with all operands in registers. What kernels are measured
// against.
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"

namespace niwaki {

struct LimitKernel {
  const char* name;
  Isa isa;
  int64_t macs;  // of one turn
  void (*run)(int64_t turns);
};

std::span<const LimitKernel> limit_kernels();
const LimitKernel& select_limit(Isa isa);

// Multiply-accumulates a second on the calling thread: the best of several rounds that take about `seconds` together.
double int8_limit(Isa isa, double seconds);

}  // namespace niwaki
