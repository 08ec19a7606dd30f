#include "kernels/scatter/scatter.h"

#include <string>
#include <type_traits>

#include "base/status.h"
#include "kernels/common/partition.h"

namespace niwaki {
namespace {

[[noreturn]] void refuse_index(std::string_view where, int64_t index, int64_t size) {
  const std::string range = size == 0 ? "there are no elements to write to" : "it must be 0 to " + std::to_string(size - 1);
  throw Error(Status::invalid_argument,
              std::string(where) + ": the index " + std::to_string(index) + " is out of range; " + range + ".");
}

// Sums and products of integers are unsigned, because a signed overflow is undefined.
template <typename T>
auto unsigned_of(T value) {
  if constexpr (std::is_integral_v<T>) return static_cast<std::make_unsigned_t<T>>(value);
  else return value;
}

template <ScatterFunction kFunction, typename T>
T updated(T a, T b) {
  if constexpr (kFunction == ScatterFunction::add) return static_cast<T>(unsigned_of(a) + unsigned_of(b));
  if constexpr (kFunction == ScatterFunction::mul) return static_cast<T>(unsigned_of(a) * unsigned_of(b));
  if constexpr (kFunction == ScatterFunction::max) return a != a || a > b ? a : b;
  if constexpr (kFunction == ScatterFunction::min) return a != a || a < b ? a : b;
  return b;
}

// How far a step along each axis of the updates moves in them, in the data and in the indices.
class Steps {
 public:
  explicit Steps(const ScatterParams& p) : p_(p), axis_(static_cast<std::size_t>(p.axis)) {
    for (std::size_t i = 0; i < p.updates.size(); ++i) (i < axis_ ? outer : i > axis_ ? inner : count) *= p.updates[i];
    for (std::size_t i = axis_ + 1; i < p.updates.size(); ++i) {
      data_along *= p.data[i];
      indices_along *= p.indices[i];
    }
    run = axis_ + 1 == p.updates.size() ? 1 : p.updates.back();
    index_step = run == 1 || p.indices.back() == 1 ? 0 : 1;
    along_index = p.indices[axis_] == 1 ? 0 : indices_along;
  }

  struct Place {
    int64_t data = 0, index = 0;
  };
  // Of number `i` of the elements before the axis, or behind it.
  Place before(int64_t i) const { return place(0, axis_, i, data_along * p_.data[axis_], indices_along * p_.indices[axis_]); }
  Place behind(int64_t i) const { return place(axis_ + 1, p_.updates.size(), i, 1, 1); }

  int64_t outer = 1, count = 1, inner = 1;  // updates before, along and behind the axis
  int64_t run;                              // neighbours in all three
  int64_t data_along = 1, along_index, index_step;

 private:
  Place place(std::size_t first, std::size_t last, int64_t i, int64_t data_step, int64_t step) const {
    Place found;
    for (std::size_t axis = last; axis-- > first; i /= p_.updates[axis]) {
      const int64_t at = i % p_.updates[axis];
      found.data += at * data_step;
      if (p_.indices[axis] > 1) found.index += at * step;
      data_step *= p_.data[axis];
      step *= p_.indices[axis];
    }
    return found;
  }

  const ScatterParams& p_;
  std::size_t axis_;
  int64_t indices_along = 1;
};

template <ScatterFunction kFunction, typename T>
void scatter_with(const T* updates, const int64_t* indices, T* out, const ScatterParams& p, ThreadPool& pool) {
  const Steps steps(p);
  const int64_t size = p.data[static_cast<std::size_t>(p.axis)], runs = steps.run == 0 ? 0 : steps.inner / steps.run;
  // Threads share what lies beside the axis, never the axis: so updates of the same element keep their order.
  for_each_part(steps.outer, runs, steps.count * steps.run * int64_t{sizeof(T)}, pool,
                [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
                  for (int64_t o = begin; o < end; ++o) {
                    const Steps::Place before = steps.before(o);
                    for (int64_t k = 0; k < steps.count; ++k)
                      for (int64_t r = first; r < last; ++r) {
                        const Steps::Place behind = steps.behind(r * steps.run);
                        const int64_t* index = indices + before.index + k * steps.along_index + behind.index;
                        const T* from = updates + (o * steps.count + k) * steps.inner + r * steps.run;
                        T* to = out + before.data + behind.data;
                        const auto checked = [&](int64_t i) {
                          if (i < 0 || i >= size) refuse_index(p.where, i, size);
                          return i * steps.data_along;
                        };
                        if (steps.index_step == 0) {
                          to += checked(*index);
                          for (int64_t x = 0; x < steps.run; ++x) to[x] = updated<kFunction>(to[x], from[x]);
                        } else {
                          for (int64_t x = 0; x < steps.run; ++x) {
                            T& element = to[checked(index[x]) + x];
                            element = updated<kFunction>(element, from[x]);
                          }
                        }
                      }
                  }
                });
}

}  // namespace

template <typename T>
void scatter(const T* updates, const int64_t* indices, T* out, const ScatterParams& params, ThreadPool& pool) {
  switch (params.function) {
    case ScatterFunction::set: return scatter_with<ScatterFunction::set>(updates, indices, out, params, pool);
    case ScatterFunction::add: return scatter_with<ScatterFunction::add>(updates, indices, out, params, pool);
    case ScatterFunction::mul: return scatter_with<ScatterFunction::mul>(updates, indices, out, params, pool);
    case ScatterFunction::max: return scatter_with<ScatterFunction::max>(updates, indices, out, params, pool);
    case ScatterFunction::min: return scatter_with<ScatterFunction::min>(updates, indices, out, params, pool);
  }
}

template void scatter(const float*, const int64_t*, float*, const ScatterParams&, ThreadPool&);
template void scatter(const int64_t*, const int64_t*, int64_t*, const ScatterParams&, ThreadPool&);
template void scatter(const int32_t*, const int64_t*, int32_t*, const ScatterParams&, ThreadPool&);
template void scatter(const uint8_t*, const int64_t*, uint8_t*, const ScatterParams&, ThreadPool&);

}  // namespace niwaki
