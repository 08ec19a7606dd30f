// Values that are made and not computed from others: one element many times, and evenly spaced numbers.
#pragma once

#include <cstdint>

#include "base/thread_pool.h"

namespace niwaki {

// `count` copies of an element of 1, 4 or 8 bytes.
void fill(void* out, const void* element, int64_t bytes, int64_t count, ThreadPool& pool);

// start, start + step, start + 2 * step, ...; integers are exact, and a float32 is the nearest one to the integer.
void arange(int64_t* out, int64_t count, int64_t start, int64_t step);
void arange(int32_t* out, int64_t count, int64_t start, int64_t step);
void arange(float* out, int64_t count, int64_t start, int64_t step);

// Counted in float32 from the nearer end, so that both ends are met: start + i * step in the first half, then
// end - (count - 1 - i) * step, where step = (end - start) / (count - 1). torch.linspace has the same formula.
void linspace(float* out, int64_t count, float start, float end);

}  // namespace niwaki
