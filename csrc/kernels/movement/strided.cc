#include "kernels/movement/strided.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "base/compiler.h"
#include "base/memory.h"

namespace niwaki {
namespace {

using Axis = StridedCopy::Axis;

// Below this a second thread costs more than it saves.
constexpr int64_t kLeastBytes = 32768;
constexpr int64_t kTasksPerThread = 4;

// function(source, destination) for each element of the axes.
template <typename Function>
void walk(std::span<const Axis> axes, const uint8_t* source, uint8_t* destination, const Function& function) {
  if (axes.empty()) return function(source, destination);
  const Axis& axis = axes.front();
  for (int64_t i = 0; i < axis.size; ++i) walk(axes.subspan(1), source + i * axis.from, destination + i * axis.to, function);
}

// A run whose length is known to the compiler.
template <int kBytes>
struct FixedRun {
  static constexpr bool kFixed = true;
  explicit FixedRun(int64_t) {}
  NIWAKI_ALWAYS_INLINE void copy(const uint8_t* source, uint8_t* destination) const { std::memcpy(destination, source, kBytes); }
};

struct AnyRun {
  static constexpr bool kFixed = false;
  explicit AnyRun(int64_t length) : bytes(static_cast<std::size_t>(length)) {}
  void copy(const uint8_t* source, uint8_t* destination) const { std::memcpy(destination, source, bytes); }
  std::size_t bytes;
};

// function(run) with the kind of run for this length.
template <typename Function>
void with_run(int64_t bytes, const Function& function) {
  switch (bytes) {
    case 1: return function(FixedRun<1>(bytes));
    case 2: return function(FixedRun<2>(bytes));
    case 4: return function(FixedRun<4>(bytes));
    case 8: return function(FixedRun<8>(bytes));
    case 16: return function(FixedRun<16>(bytes));
    case 32: return function(FixedRun<32>(bytes));
    case 64: return function(FixedRun<64>(bytes));
    default: return function(AnyRun(bytes));
  }
}

template <typename Run>
void copy_row(const Run& run, const Axis& axis, const uint8_t* source, uint8_t* destination) {
  for (int64_t i = 0; i < axis.size; ++i) run.copy(source + i * axis.from, destination + i * axis.to);
}

// Writes rows of `inner`, whose source lies in columns: by squares, so that a cache line that was read or begun is soon used up.
template <typename Run>
void copy_transposed(const Run& run, const Axis& outer, const Axis& inner, const uint8_t* source, uint8_t* destination) {
  constexpr int64_t kSide = 16;
  for (int64_t i0 = 0; i0 < outer.size; i0 += kSide) {
    const int64_t i1 = std::min(i0 + kSide, outer.size);
    for (int64_t j0 = 0; j0 < inner.size; j0 += kSide) {
      const int64_t count = std::min(kSide, inner.size - j0);
      for (int64_t i = i0; i < i1; ++i)
        copy_row(run, {count, inner.from, inner.to}, source + i * outer.from + j0 * inner.from,
                 destination + i * outer.to + j0 * inner.to);
    }
  }
}

}  // namespace

void StridedCopy::add(const Axis& axis) {
  empty_ = empty_ || axis.size == 0;
  if (axis.size != 1) axes_[static_cast<std::size_t>(count_++)] = axis;
}

void StridedCopy::simplify() {
  if (empty_) return;
  int kept = 0;
  for (int i = 0; i < count_; ++i) {
    const Axis axis = axes_[static_cast<std::size_t>(i)];
    if (kept > 0) {
      Axis& before = axes_[static_cast<std::size_t>(kept - 1)];
      if (before.from == axis.size * axis.from && before.to == axis.size * axis.to) {
        before = {before.size * axis.size, axis.from, axis.to};
        continue;
      }
    }
    axes_[static_cast<std::size_t>(kept++)] = axis;
  }
  count_ = kept;
  if (count_ > 0) {
    const Axis& last = axes_[static_cast<std::size_t>(count_ - 1)];
    if (last.from == run_ && last.to == run_) {
      run_ *= last.size;
      --count_;
    }
  }
}

int64_t StridedCopy::bytes() const {
  int64_t bytes = empty_ ? 0 : run_;
  for (int i = 0; i < count_; ++i) bytes *= axes_[static_cast<std::size_t>(i)].size;
  return bytes;
}

// Rows are written from what lies in columns, and another axis runs along these columns.
bool StridedCopy::transposes() const {
  if (count_ < 2 || run_ > 16) return false;
  const Axis& last = axes_[static_cast<std::size_t>(count_ - 1)];
  return last.to == run_ && last.from != 0 &&
         std::any_of(axes_.begin(), axes_.begin() + count_ - 1, [&](const Axis& axis) { return axis.from == run_; });
}

void StridedCopy::run_part(const uint8_t* source, uint8_t* destination) const {
  source += from_;
  destination += to_;
  std::array<Axis, kMaxAxes> axes = axes_;
  const std::span<Axis> all(axes.data(), static_cast<std::size_t>(count_));
  with_run(run_, [&](const auto& run) {
    if (all.empty()) return run.copy(source, destination);
    if (!transposes()) {
      return walk(all.first(all.size() - 1), source, destination,
                  [&](const uint8_t* from, uint8_t* to) { copy_row(run, all.back(), from, to); });
    }
    // The axis along the columns becomes the last but one.
    const auto column = std::find_if(all.begin(), all.end(), [&](const Axis& axis) { return axis.from == run_; });
    std::rotate(column, column + 1, all.end() - 1);
    walk(all.first(all.size() - 2), source, destination,
         [&](const uint8_t* from, uint8_t* to) { copy_transposed(run, all[all.size() - 2], all.back(), from, to); });
  });
}

void StridedCopy::run(const void* source, void* destination, ThreadPool& pool) const {
  if (empty_) return;
  const auto* from = static_cast<const uint8_t*>(source);
  auto* to = static_cast<uint8_t*>(destination);
  const int64_t pieces = pool.threads() == 1 ? 1 : std::min(pool.threads() * kTasksPerThread, bytes() / kLeastBytes);
  if (pieces <= 1) return run_part(from, to);
  if (is_block()) {
    const int64_t lines = div_up(run_, 64);
    pool.run(pieces, [&](int64_t piece, int) {
      const int64_t begin = lines * piece / pieces * 64, end = std::min(lines * (piece + 1) / pieces * 64, run_);
      std::memcpy(to + to_ + begin, from + from_ + begin, static_cast<std::size_t>(end - begin));
    });
    return;
  }
  // The outermost axis with enough elements, or the longest one.
  const auto axes = std::span(axes_).first(static_cast<std::size_t>(count_));
  auto cut = std::ranges::find_if(axes, [&](const Axis& axis) { return axis.size >= pieces; });
  if (cut == axes.end()) cut = std::ranges::max_element(axes, {}, &Axis::size);
  const std::size_t index = static_cast<std::size_t>(cut - axes.begin());
  const int64_t tasks = std::min(pieces, cut->size);
  pool.run(tasks, [&](int64_t task, int) {
    const int64_t begin = cut->size * task / tasks, end = cut->size * (task + 1) / tasks;
    StridedCopy part = *this;
    part.axes_[index].size = end - begin;
    part.from_ += begin * cut->from;
    part.to_ += begin * cut->to;
    part.run_part(from, to);
  });
}

}  // namespace niwaki
