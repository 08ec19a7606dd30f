// Cutting loops over memory into tasks: large enough that handing one out costs nothing, small enough that threads end together.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/memory.h"
#include "base/thread_pool.h"

namespace niwaki {

// How many of `items` (`item_bytes` each) go into one task when `loops` loops of that many items are cut: a multiple of
// `multiple`.
inline int64_t items_per_task(int64_t items, int64_t item_bytes, int64_t loops, int64_t multiple, const ThreadPool& pool) {
  constexpr int64_t kLeastBytes = 8192;
  if (pool.threads() == 1 || items <= 0) return std::max<int64_t>(round_up(items, multiple), multiple);
  const int64_t pieces = div_up(int64_t{4} * pool.threads(), std::max<int64_t>(loops, 1));
  const int64_t fair = div_up(items, pieces), least = div_up(kLeastBytes, item_bytes);
  return round_up(std::max(fair, least), multiple);
}

// function(begin, size) over pieces of `bytes` bytes, whole cache lines.
template <typename Function>
void for_each_piece(int64_t bytes, ThreadPool& pool, const Function& function) {
  const int64_t piece = items_per_task(bytes, 1, 1, 64, pool);
  pool.run(div_up(bytes, piece), [&](int64_t task, int) {
    const int64_t begin = task * piece;
    function(begin, std::min(piece, bytes - begin));
  });
}

}  // namespace niwaki
