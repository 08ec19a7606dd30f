// Cutting loops over planes into tasks: large enough that handing one out costs nothing, small enough that threads end together, and by
// pixels where there are enough, in the same order in every operator: what a thread wrote is then what it reads in the next one.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/layout.h"

namespace niwaki {

// function(begin, end, first group, last group + 1, thread) for parts of `items` (vectors of pixels, or rows) times `groups`, where an item
// of one group has `item_bytes` bytes.
template <typename Function>
void for_each_part_of_thread(int64_t items, int64_t groups, int64_t item_bytes, ThreadPool& pool, const Function& function) {
  constexpr int64_t kLeastBytes = 8192;
  // Items per thread from which on shares that differ by one are nearly equal, and tasks per thread, for threads that are late.
  constexpr int64_t kEven = 8, kTasks = 4;
  if (items <= 0 || groups <= 0) return;
  const int64_t threads = pool.threads(), worth = div_up(items * groups * item_bytes, kLeastBytes);
  if (threads == 1 || worth <= 1) return function(int64_t{0}, items, int64_t{0}, groups, 0);
  const bool by_items = items >= kEven * threads || items >= groups;
  const int64_t count = by_items ? items : groups, tasks = std::min({count, kTasks * threads, std::max(worth, threads)});
  pool.run(tasks, [&](int64_t task, int thread) {
    const int64_t begin = count * task / tasks, end = count * (task + 1) / tasks;
    if (by_items) function(begin, end, int64_t{0}, groups, thread);
    else function(int64_t{0}, items, begin, end, thread);
  });
}

// The same for those to whom all threads are alike.
template <typename Function>
void for_each_part(int64_t items, int64_t groups, int64_t item_bytes, ThreadPool& pool, const Function& function) {
  for_each_part_of_thread(items, groups, item_bytes, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last, int) {
    function(begin, end, first, last);
  });
}

// For operators that go byte by byte: function(bytes of a, bytes of b, bytes of out, how many) over whole vectors of 16 pixels of planes of
// the same shape.
template <typename Function>
void for_each_span(const Planes& a, const Planes& b, const Planes& out, ThreadPool& pool, const Function& function) {
  const int64_t vectors = div_up(out.pixels(), 16);
  const bool alike = a.group_stride == out.group_stride && b.group_stride == out.group_stride;
  for_each_part(vectors, out.groups(), 64, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    if (alike && begin == 0 && end == vectors)  // groups are neighbours, with little between them
      return function(a.group(first), b.group(first), out.group(first), (last - first - 1) * out.group_stride + vectors * 64);
    for (int64_t group = first; group < last; ++group)
      function(a.group(group) + begin * 64, b.group(group) + begin * 64, out.group(group) + begin * 64, (end - begin) * 64);
  });
}

}  // namespace niwaki
