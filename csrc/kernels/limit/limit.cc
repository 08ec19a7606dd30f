#include "kernels/limit/limit.h"

#include <algorithm>
#include <chrono>

#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_LIMIT(name, isa, macs) void limit_##name(int64_t turns);
#include "kernels/limit/kernels.inc"
#undef NIWAKI_LIMIT

std::span<const LimitKernel> limit_kernels() {
  static const LimitKernel rows[] = {
#define NIWAKI_LIMIT(name, isa, macs) {#name, isa, macs, limit_##name},
#include "kernels/limit/kernels.inc"
#undef NIWAKI_LIMIT
  };
  return rows;
}

const LimitKernel& select_limit(Isa isa) { return select_kernel(limit_kernels(), isa); }

double int8_limit(Isa isa, double seconds) {
  using Clock = std::chrono::steady_clock;
  const LimitKernel& kernel = select_limit(isa);
  const auto measure = [&](int64_t turns) {
    const auto start = Clock::now();
    kernel.run(turns);
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  // Rounds of about a tenth of the time: long against the clock's grain, short against the pauses that other programs force.
  int64_t turns = 1000;
  const double round = std::max(seconds, 1e-4) / 10;
  for (double taken = measure(turns); taken < round / 2; taken = measure(turns)) turns *= 2;
  double best = 1e30;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  do {
    best = std::min(best, measure(turns));
  } while (Clock::now() < end);
  return static_cast<double>(turns * kernel.macs) / best;
}

}  // namespace niwaki
