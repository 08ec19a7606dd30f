#include "kernels/conv/row_pairs.h"

#include <cstring>

namespace niwaki {
namespace {

constexpr uint64_t kEach16 = 0x0001000100010001u, kEach8 = 0x0101010101010101u;
constexpr uint64_t kOver = (0x7fff - 128) * kEach16, kHighest = 0x8000 * kEach16;  // more than 128 plus that sets the highest bit

uint64_t add_neighbours(uint64_t bytes) {
  constexpr uint64_t kEven = 0x00ff * kEach16;
  return (bytes & kEven) + ((bytes >> 8) & kEven);
}

}  // namespace

// Eight weights at a time, as bytes of a word.
RowPairs::Sums RowPairs::sums_of(const int8_t* weights) const {
  Sums sums{};
  for (int i = 0; i < words_ / 2; ++i) {
    uint64_t w = 0;
    std::memcpy(&w, weights + i * 8, static_cast<std::size_t>(width_ < 8 ? width_ : 8));
    const uint64_t signs = (w >> 7) & kEach8, negative = signs * 255;
    sums.words[2 * i] = add_neighbours(w & ~negative);
    sums.words[2 * i + 1] = add_neighbours((~w & negative) + signs);  // -w, of at most 127: nothing is carried
  }
  return sums;
}

bool RowPairs::fits(const Sums& a, const Sums& b) const {
  uint64_t over = 0;
  for (int i = 0; i < words_; ++i) over |= a.words[i] + b.words[i] + kOver;
  return (over & kHighest) == 0;
}

void RowPairs::add(uint16_t name, const int8_t* weights) {
  Row row{};
  row.name = name;
  std::memcpy(row.weights, weights, static_cast<std::size_t>(width_));
  row.sums = sums_of(row.weights);
  uint64_t any = 0;
  for (int i = 0; i < words_; ++i) any |= row.sums.words[i];
  if (any == 0) return;
  if (!fits(row.sums, Sums{})) {
    Row half = row;  // two weights of 127 at most: 64 + 64, and 63 + 63
    for (int i = 0; i < width_; ++i) {
      half.weights[i] = static_cast<int8_t>(row.weights[i] / 2);
      row.weights[i] = static_cast<int8_t>(row.weights[i] - half.weights[i]);
    }
    half.sums = sums_of(half.weights);
    row.sums = sums_of(row.weights);
    match(half);
  }
  match(row);
}

void RowPairs::match(const Row& row) {
  for (int i = 0; i < count_; ++i) {
    const uint8_t slot = order_[i];
    if (!fits(row.sums, waiting_[slot].sums)) continue;
    emit(waiting_[slot]);
    emit(row);
    std::memmove(order_ + i, order_ + i + 1, static_cast<std::size_t>(count_ - i - 1));
    order_[--count_] = slot;
    return;
  }
  // Slots behind the first `count_` of `order_` are free.
  if (count_ == kWaiting) {
    const uint8_t slot = order_[0];
    emit_alone(waiting_[slot]);
    std::memmove(order_, order_ + 1, kWaiting - 1);
    order_[kWaiting - 1] = slot;
    --count_;
  }
  waiting_[order_[count_++]] = row;
}

void RowPairs::emit(const Row& row) {
  names_.push_back(row.name);
  weights_.insert(weights_.end(), row.weights, row.weights + width_);
}

void RowPairs::emit_alone(const Row& row) {
  emit(row);
  names_.push_back(row.name);
  weights_.insert(weights_.end(), static_cast<std::size_t>(width_), 0);
}

void RowPairs::finish() {
  for (int i = 0; i < count_; ++i) emit_alone(waiting_[order_[i]]);
  count_ = 0;
}

void RowPairs::clear() {
  names_.clear();
  weights_.clear();
}

}  // namespace niwaki
