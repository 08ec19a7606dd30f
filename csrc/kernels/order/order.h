// sort and topk along an axis of row-major values, in plain C++. The order is torch's: NaN is larger than everything, -0 equals 0, and equals stay
// as they were, in topk, too.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/rows/rows.h"

namespace niwaki {

// Bytes of scratch for each thread.
template <typename T>
int64_t order_scratch_bytes(int64_t count);

// The first `k` of each axis in order, and where they were. T: float, int64_t, int32_t. view.count is below 2^32.
// scratch: of thread t from scratch + t * scratch_step on, order_scratch_bytes(view.count) of them.
template <typename T>
void order(const AxisView& view, int64_t k, bool descending, const T* in, T* values, int64_t* indices, uint8_t* scratch,
           int64_t scratch_step, ThreadPool& pool);

}  // namespace niwaki
