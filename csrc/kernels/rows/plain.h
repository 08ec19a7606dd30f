// Operators along axes that have one way to be computed, in plain C++: sums and extremes of integers, any and all of bool, arg_reduce, and
// what is made of the elements of an axis in their order: cumsum, cumprod, cumextreme.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"
#include "kernels/rows/rows.h"

namespace niwaki {

enum class PlainFunction : uint8_t { sum, max, min, any, all };

// T: int64_t, or, for any and all, uint8_t, 0 or 1. Sums wrap around. max and min have no result of no elements: count must not be 0.
template <typename T>
void reduce_plain(PlainFunction function, const Reduction& reduction, const T* in, T* out, ThreadPool& pool);

// Where the largest or the smallest of an axis is: the first of equals, and the first NaN where there is one. T: float, int64_t, int32_t.
// out: integers of so many bytes, 8, 4 or 1, of which the last hold the last eight bits.
template <typename T>
void arg_reduce(const AxisView& view, bool largest, const T* in, void* out, int64_t bytes, ThreadPool& pool);

// T: float, int64_t, which wraps around. `out` may be `in`.
template <typename T>
void cumsum(const AxisView& view, const T* in, T* out, ThreadPool& pool);
template <typename T>
void cumprod(const AxisView& view, const T* in, T* out, ThreadPool& pool);

// The largest or the smallest of an axis up to each element, and where it is: the last of equals, and from the first NaN on the last one.
// T: float, int64_t, int32_t. `out` may be `in`.
template <typename T>
void cumextreme(const AxisView& view, bool largest, const T* in, T* out, int64_t* where, ThreadPool& pool);

}  // namespace niwaki
