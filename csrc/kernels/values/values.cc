#include "kernels/values/values.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/partition.h"

namespace niwaki {
namespace {

template <typename T>
void fill_elements(void* out, const void* element, int64_t count, ThreadPool& pool) {
  T value;
  std::memcpy(&value, element, sizeof(T));
  for_each_part(count, 1, sizeof(T), pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    std::fill(static_cast<T*>(out) + begin, static_cast<T*>(out) + end, value);
  });
}

template <typename T>
void count_up(T* out, int64_t count, int64_t start, int64_t step) {
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<T>(start + i * step);
}

}  // namespace

void fill(void* out, const void* element, int64_t bytes, int64_t count, ThreadPool& pool) {
  if (bytes == 1) fill_elements<uint8_t>(out, element, count, pool);
  else if (bytes == 4) fill_elements<uint32_t>(out, element, count, pool);
  else fill_elements<uint64_t>(out, element, count, pool);
}

void arange(int64_t* out, int64_t count, int64_t start, int64_t step) { count_up(out, count, start, step); }
void arange(int32_t* out, int64_t count, int64_t start, int64_t step) { count_up(out, count, start, step); }
void arange(float* out, int64_t count, int64_t start, int64_t step) { count_up(out, count, start, step); }

void linspace(float* out, int64_t count, float start, float end) {
  const float step = count > 1 ? (end - start) / static_cast<float>(count - 1) : 0.0f;
  for (int64_t i = 0; i < count; ++i)
    out[i] = count == 1 || i < count / 2 ? start + step * static_cast<float>(i) : end - step * static_cast<float>(count - 1 - i);
}

}  // namespace niwaki
