#include "kernels/order/order.h"

#include <algorithm>
#include <bit>
#include <compare>
#include <limits>
#include <new>
#include <type_traits>

namespace niwaki {
namespace {

// Keys are ordered as the elements are.
uint32_t key_of(float x) {
  if (x != x) return std::numeric_limits<uint32_t>::max();
  if (x == 0.0f) x = 0.0f;  // of both signs
  const auto bits = std::bit_cast<uint32_t>(x);
  return bits >> 31 != 0 ? ~bits : bits | 0x80000000u;
}
uint32_t key_of(int32_t x) { return static_cast<uint32_t>(x) ^ 0x80000000u; }
uint64_t key_of(int64_t x) { return static_cast<uint64_t>(x) ^ 0x8000000000000000u; }

// A key with the number of its element behind it: all are different, so any sort is a stable one.
struct Place32 {
  uint64_t both;
  Place32(uint32_t key, int64_t index) : both(uint64_t{key} << 32 | static_cast<uint64_t>(index)) {}
  int64_t index() const { return static_cast<int64_t>(both & 0xffffffffu); }
  auto operator<=>(const Place32&) const = default;
};
struct Place64 {
  uint64_t key;
  int64_t number;
  Place64(uint64_t of, int64_t index) : key(of), number(index) {}
  int64_t index() const { return number; }
  auto operator<=>(const Place64&) const = default;
};
template <typename T>
using Place = std::conditional_t<sizeof(T) == 8, Place64, Place32>;

}  // namespace

template <typename T>
int64_t order_scratch_bytes(int64_t count) {
  return count * static_cast<int64_t>(sizeof(Place<T>));
}

template <typename T>
void order(const AxisView& view, int64_t k, bool descending, const T* in, T* values, int64_t* indices, uint8_t* scratch,
           int64_t scratch_step, ThreadPool& pool) {
  const int64_t rows = view.outer * view.inner, tasks = std::min(rows, pool.threads() * int64_t{4});
  if (k == 0 || rows == 0) return;
  pool.run(tasks, [&](int64_t task, int thread) {
    const auto places = reinterpret_cast<Place<T>*>(scratch + thread * scratch_step);
    for (int64_t row = rows * task / tasks; row < rows * (task + 1) / tasks; ++row) {
      const int64_t image = row / view.inner, column = row % view.inner;
      const T* x = in + image * view.count * view.inner + column;
      for (int64_t i = 0; i < view.count; ++i) {
        const auto key = key_of(x[i * view.inner]);
        new (places + i) Place<T>(descending ? ~key : key, i);
      }
      if (k < view.count) std::nth_element(places, places + k, places + view.count);
      std::sort(places, places + k);
      for (int64_t i = 0; i < k; ++i) {
        const int64_t index = places[i].index(), at = (image * k + i) * view.inner + column;
        values[at] = x[index * view.inner];
        indices[at] = index;
      }
    }
  });
}

template int64_t order_scratch_bytes<float>(int64_t);
template int64_t order_scratch_bytes<int32_t>(int64_t);
template int64_t order_scratch_bytes<int64_t>(int64_t);
template void order(const AxisView&, int64_t, bool, const float*, float*, int64_t*, uint8_t*, int64_t, ThreadPool&);
template void order(const AxisView&, int64_t, bool, const int32_t*, int32_t*, int64_t*, uint8_t*, int64_t, ThreadPool&);
template void order(const AxisView&, int64_t, bool, const int64_t*, int64_t*, int64_t*, uint8_t*, int64_t, ThreadPool&);

}  // namespace niwaki
