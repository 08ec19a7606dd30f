// Padding, and cropping, of any axes.
#include <algorithm>
#include <cstring>

#include "kernels/common/partition.h"
#include "kernels/movement/movement.h"

namespace niwaki {

PadCopy::PadCopy(SizeSpan in, SizeSpan padding, PadMode mode, int64_t element) : mode_(mode), element_(element), block_(element) {
  std::size_t padded = 0;  // axes up to the last padded one
  for (std::size_t i = 0; i < in.size(); ++i) {
    const int64_t out = in[i] + padding[2 * i] + padding[2 * i + 1];
    if (padding[2 * i] != 0 || padding[2 * i + 1] != 0) padded = i + 1;
    empty_ = empty_ || out == 0;
  }
  same_ = padded == 0;
  for (std::size_t i = padded; i < in.size(); ++i) block_ *= in[i];
  bool joins = false;  // the axis before this one is not padded, as this one
  for (std::size_t i = 0; i < padded; ++i) {
    const int64_t before = padding[2 * i], behind = padding[2 * i + 1];
    const bool plain = before == 0 && behind == 0;
    if (plain && joins) {
      Axis& last = axes_.back();
      last.in = last.out = last.high = last.in * in[i];
    } else {
      axes_.push_back(
          {in[i], in[i] + before + behind, before, std::max<int64_t>(-before, 0), in[i] - std::max<int64_t>(-behind, 0), 0});
    }
    joins = plain;
  }
  int64_t step = block_;
  for (std::size_t i = axes_.size(); i-- > 0; step *= axes_[i].in) axes_[i].from = step;
}

// Which element of the input comes here; -1: the value.
int64_t PadCopy::source_index(const Axis& axis, int64_t index) const {
  const int64_t i = index - axis.before, count = axis.high - axis.low;
  if (i >= axis.low && i < axis.high) return i;
  switch (mode_) {
    case PadMode::constant: return -1;
    case PadMode::reflect: return i < 0 ? -i : 2 * (axis.in - 1) - i;
    case PadMode::replicate: return std::clamp<int64_t>(i, 0, axis.in - 1);
    case PadMode::circular: return i < axis.low ? i + count : i - count;
  }
  return -1;
}

void PadCopy::fill(uint8_t* destination, const uint8_t* value, int64_t bytes) const {
  if (element_ == 1) {
    std::memset(destination, *value, static_cast<std::size_t>(bytes));
  } else if (element_ == 4) {
    for (int64_t i = 0; i < bytes; i += 4) std::memcpy(destination + i, value, 4);
  } else {
    for (int64_t i = 0; i < bytes; i += 8) std::memcpy(destination + i, value, 8);
  }
}

// One row of the last padded axis; `source` is where its row of the input begins.
void PadCopy::copy_row(const uint8_t* source, uint8_t* destination, const uint8_t* value) const {
  const Axis& axis = axes_.back();
  const int64_t first = std::clamp<int64_t>(axis.low + axis.before, 0, axis.out);
  const int64_t last = std::clamp<int64_t>(axis.high + axis.before, first, axis.out);
  if (mode_ == PadMode::constant) {
    fill(destination, value, first * block_);
    fill(destination + last * block_, value, (axis.out - last) * block_);
  } else {
    const auto repeat = [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        std::memcpy(destination + i * block_, source + source_index(axis, i) * block_, static_cast<std::size_t>(block_));
    };
    repeat(0, first);
    repeat(last, axis.out);
  }
  if (last > first)
    std::memcpy(destination + first * block_, source + (first - axis.before) * block_,
                static_cast<std::size_t>((last - first) * block_));
}

void PadCopy::run(const void* source, void* destination, const void* value, ThreadPool& pool) const {
  if (empty_) return;
  const auto* from = static_cast<const uint8_t*>(source);
  auto* to = static_cast<uint8_t*>(destination);
  const auto* bytes = static_cast<const uint8_t*>(value);
  if (same_) {
    std::memcpy(to, from, static_cast<std::size_t>(block_));
    return;
  }
  int64_t rows = 1;
  for (std::size_t k = 0; k + 1 < axes_.size(); ++k) rows *= axes_[k].out;
  const int64_t row_bytes = axes_.back().out * block_;
  for_each_part(rows, 1, row_bytes, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, offset = 0;
      bool outside = false;
      for (std::size_t k = axes_.size() - 1; k-- > 0; rest /= axes_[k].out) {
        const int64_t index = source_index(axes_[k], rest % axes_[k].out);
        outside = outside || index < 0;
        offset += index * axes_[k].from;
      }
      if (outside) fill(to + row * row_bytes, bytes, row_bytes);
      else copy_row(from + offset, to + row * row_bytes, bytes);
    }
  });
}

}  // namespace niwaki
