#include "kernels/rows/plain.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "kernels/common/partition.h"

namespace niwaki {
namespace {

template <typename T>
T sum_of(T a, T b) {
  if constexpr (std::is_integral_v<T>) {  // unsigned, because a signed overflow is undefined
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  } else {
    return a + b;
  }
}

template <typename T>
T product_of(T a, T b) {
  if constexpr (std::is_integral_v<T>) {
    using U = std::make_unsigned_t<T>;
    return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
  } else {
    return a * b;
  }
}

template <typename T>
struct Plain {
  T start;
  T (*step)(T, T);
};
template <typename T>
Plain<T> plain(PlainFunction function) {
  switch (function) {
    case PlainFunction::max: return {std::numeric_limits<T>::lowest(), [](T a, T b) { return a > b ? a : b; }};
    case PlainFunction::min: return {std::numeric_limits<T>::max(), [](T a, T b) { return a < b ? a : b; }};
    case PlainFunction::any: return {0, [](T a, T b) { return static_cast<T>(a | b); }};
    case PlainFunction::all: return {1, [](T a, T b) { return static_cast<T>(a & b); }};
    default: return {0, sum_of<T>};
  }
}

// Whether a wins over b, which comes first, where the largest wins. Without branches, so that the compiler makes vectors of it.
template <typename T>
bool before(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) return (a > b) | ((a != a) & (b == b));
  return a > b;
}

// The smallest is the largest of these. Not -x of integers, for the lowest has none.
template <typename T>
T turned(T x, T sign) {
  if constexpr (std::is_floating_point_v<T>) return x * sign;
  else return x ^ sign;
}

// Columns that are gone through together, from the first element of the axis to the last: their best elements and where those are stay close.
constexpr int64_t kColumns = 256;

template <typename Place>
void write_as(const int32_t* where, int64_t count, void* out, int64_t at) {
  for (int64_t i = 0; i < count; ++i) static_cast<Place*>(out)[at + i] = static_cast<Place>(where[i]);
}
__attribute__((noinline)) void write_places(const int32_t* where, int64_t count, int64_t bytes, void* out, int64_t at) {
  if (bytes == 8) write_as<int64_t>(where, count, out, at);
  else if (bytes == 4) write_as<int32_t>(where, count, out, at);
  else write_as<uint8_t>(where, count, out, at);
}

template <typename T>
void best_of(const T* in, int64_t count, int64_t step, int64_t columns, T sign, T* best, int32_t* where) {
  if (columns == 1) {  // a row of its own
    T most = turned(*in, sign);
    int32_t place = 0;
    for (int64_t k = 1; k < count; ++k)
      if (const T x = turned(in[k * step], sign); before(x, most)) most = x, place = static_cast<int32_t>(k);
    *where = place;
    return;
  }
  for (int64_t column = 0; column < columns; ++column) best[column] = turned(in[column], sign), where[column] = 0;
  for (int64_t k = 1; k < count; ++k) {
    const T* x = in + k * step;
    const auto place = static_cast<int32_t>(k);
    for (int64_t column = 0; column < columns; ++column) {
      const T next = turned(x[column], sign);
      const bool wins = before(next, best[column]);
      best[column] = wins ? next : best[column];
      where[column] = wins ? place : where[column];
    }
  }
}

// Whether the next element of an axis takes the place of the extreme so far.
template <typename T>
bool takes_over(T next, T best, bool largest) {
  if constexpr (std::is_floating_point_v<T>)
    if (next != next || best != best) return next != next;
  return largest ? next >= best : next <= best;
}

// Each element is step(what the one before became, itself).
template <typename T, typename Step>
void cumulate(const AxisView& view, const T* in, T* out, ThreadPool& pool, const Step& step) {
  for_each_part(view.outer, view.inner, view.count * int64_t{sizeof(T)}, pool,
                [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
                  for (int64_t i = begin; i < end; ++i)
                    for (int64_t k = 0; k < view.count; ++k) {
                      const int64_t row = (i * view.count + k) * view.inner;
                      for (int64_t c = first; c < last; ++c)
                        out[row + c] = k == 0 ? in[row + c] : step(out[row - view.inner + c], in[row + c]);
                    }
                });
}

}  // namespace

template <typename T>
void reduce_plain(PlainFunction function, const Reduction& reduction, const T* in, T* out, ThreadPool& pool) {
  const Plain<T> f = plain<T>(function);
  const Walk kept = reduction.walk(false), gone = reduction.walk(true);
  const int64_t run = gone.axes > 0 ? gone.size[gone.axes - 1] : 1, step = gone.axes > 0 ? gone.step[gone.axes - 1] : 0;
  for_each_part(reduction.outputs, 1, reduction.count * int64_t{sizeof(T)}, pool,
                [&](int64_t begin, int64_t end, int64_t, int64_t) {
                  for (int64_t output = begin; output < end; ++output) {
                    const T* x = in + place(kept, output);
                    T total = f.start;
                    for (int64_t i = 0; i < reduction.count; i += run)  // along the last axis that goes
                      for (int64_t k = 0, at = place(gone, i); k < run; ++k) total = f.step(total, x[at + k * step]);
                    out[output] = total;
                  }
                });
}

template <typename T>
void arg_reduce(const AxisView& view, bool largest, const T* in, void* out, int64_t bytes, ThreadPool& pool) {
  const T sign = std::is_floating_point_v<T> ? static_cast<T>(largest ? 1 : -1) : static_cast<T>(largest ? 0 : -1);
  for_each_part(view.outer, view.inner, view.count * int64_t{sizeof(T)}, pool,
                [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
                  T best[kColumns];
                  int32_t where[kColumns];
                  for (int64_t i = begin; i < end; ++i)
                    for (int64_t at = first; at < last; at += kColumns) {
                      const int64_t columns = std::min(kColumns, last - at);
                      best_of(in + i * view.count * view.inner + at, view.count, view.inner, columns, sign, best, where);
                      write_places(where, columns, bytes, out, i * view.inner + at);
                    }
                });
}

template <typename T>
void cumsum(const AxisView& view, const T* in, T* out, ThreadPool& pool) {
  cumulate(view, in, out, pool, sum_of<T>);
}

template <typename T>
void cumprod(const AxisView& view, const T* in, T* out, ThreadPool& pool) {
  cumulate(view, in, out, pool, product_of<T>);
}

template <typename T>
void cumextreme(const AxisView& view, bool largest, const T* in, T* out, int64_t* where, ThreadPool& pool) {
  for_each_part(view.outer, view.inner, view.count * int64_t{sizeof(T) + sizeof(int64_t)}, pool,
                [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
                  for (int64_t i = begin; i < end; ++i)
                    for (int64_t k = 0; k < view.count; ++k) {
                      const int64_t row = (i * view.count + k) * view.inner, before = row - view.inner;
                      for (int64_t c = first; c < last; ++c) {
                        const bool taken = k == 0 || takes_over(in[row + c], out[before + c], largest);
                        out[row + c] = taken ? in[row + c] : out[before + c];
                        where[row + c] = taken ? k : where[before + c];
                      }
                    }
                });
}

template void reduce_plain(PlainFunction, const Reduction&, const int64_t*, int64_t*, ThreadPool&);
template void reduce_plain(PlainFunction, const Reduction&, const uint8_t*, uint8_t*, ThreadPool&);
template void arg_reduce(const AxisView&, bool, const float*, void*, int64_t, ThreadPool&);
template void arg_reduce(const AxisView&, bool, const int64_t*, void*, int64_t, ThreadPool&);
template void arg_reduce(const AxisView&, bool, const int32_t*, void*, int64_t, ThreadPool&);
template void cumsum(const AxisView&, const float*, float*, ThreadPool&);
template void cumsum(const AxisView&, const int64_t*, int64_t*, ThreadPool&);
template void cumprod(const AxisView&, const float*, float*, ThreadPool&);
template void cumprod(const AxisView&, const int64_t*, int64_t*, ThreadPool&);
template void cumextreme(const AxisView&, bool, const float*, float*, int64_t*, ThreadPool&);
template void cumextreme(const AxisView&, bool, const int64_t*, int64_t*, int64_t*, ThreadPool&);
template void cumextreme(const AxisView&, bool, const int32_t*, int32_t*, int64_t*, ThreadPool&);

}  // namespace niwaki
