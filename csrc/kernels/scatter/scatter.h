// Updates of single elements of a row-major value, in plain C++: one after the other in the order of the updates, whatever the threads.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "base/thread_pool.h"

namespace niwaki {

enum class ScatterFunction : uint8_t { set, add, mul, max, min };

struct ScatterParams {
  std::span<const int64_t> data, indices,
      updates;  // sizes of the same rank, at least 1; those of the indices are the updates' or 1
  int axis;     // along others the updates are not larger than the data
  ScatterFunction function;
  std::string_view where;  // the node, for messages
};

// out[.., indices[.., i, ..], ..] becomes updates[.., i, ..], or function(itself, that). `out` holds the data already. A maximum or minimum
// is NaN where one of the two is; integers wrap around. T: float, int64_t, int32_t, uint8_t.
// Throws Error(invalid_argument) for an index out of range; nothing is written there.
template <typename T>
void scatter(const T* updates, const int64_t* indices, T* out, const ScatterParams& params, ThreadPool& pool);

}  // namespace niwaki
