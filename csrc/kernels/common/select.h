// Which row of a kernels.inc an instruction set gets: the last one that it includes. Rows stand in rising order.
#pragma once

#include <span>

#include "base/arch.h"

namespace niwaki {

template <typename Kernel>
const Kernel& select_kernel(std::span<const Kernel> rows, Isa isa) {
  const Kernel* best = &rows.front();  // scalar: every set includes it
  for (const Kernel& row : rows)
    if (isa_includes(isa, row.isa)) best = &row;
  return *best;
}

}  // namespace niwaki
