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
template <int kOutputs>
typename RowPairs<kOutputs>::Sums RowPairs<kOutputs>::sums_of(const int8_t* weights) {
  Sums sums;
  for (int i = 0; i < kEights; ++i) {
    uint64_t w = 0;
    std::memcpy(&w, weights + i * 8, kRowWeights < 8 ? kRowWeights : 8);
    const uint64_t signs = (w >> 7) & kEach8, negative = signs * 255;
    sums.words[2 * i] = add_neighbours(w & ~negative);
    sums.words[2 * i + 1] = add_neighbours((~w & negative) + signs);  // -w, of at most 127: nothing is carried
  }
  return sums;
}

template <int kOutputs>
bool RowPairs<kOutputs>::fits(const Sums& a, const Sums& b) {
  uint64_t over = 0;
  for (int i = 0; i < 2 * kEights; ++i) over |= a.words[i] + b.words[i] + kOver;
  return (over & kHighest) == 0;
}

template <int kOutputs>
void RowPairs<kOutputs>::add(uint16_t name, const int8_t* weights) {
  Row row;
  row.name = name;
  row.sums = sums_of(weights);
  uint64_t any = 0;
  for (const uint64_t word : row.sums.words) any |= word;
  if (any == 0) return;
  std::memcpy(row.weights, weights, kRowWeights);
  if (!fits(row.sums, Sums{})) {
    Row half;  // of two weights of 127 at most: 63 + 63, and 64 + 64
    half.name = name;
    for (int i = 0; i < kRowWeights; ++i) {
      half.weights[i] = static_cast<int8_t>(row.weights[i] / 2);
      row.weights[i] = static_cast<int8_t>(row.weights[i] - half.weights[i]);
    }
    half.sums = sums_of(half.weights);
    row.sums = sums_of(row.weights);
    match(half);
  }
  match(row);
}

template <int kOutputs>
void RowPairs<kOutputs>::match(const Row& row) {
  for (int i = 0; i < count_; ++i) {
    const uint8_t slot = order_[i];
    if (!fits(row.sums, waiting_[slot].sums)) continue;
    emit(waiting_[slot]);
    emit(row);
    for (--count_; i < count_; ++i) order_[i] = order_[i + 1];
    order_[count_] = slot;
    return;
  }
  if (count_ == kWaiting) {
    const uint8_t slot = order_[0];
    emit_alone(waiting_[slot]);
    for (int i = 0; i + 1 < kWaiting; ++i) order_[i] = order_[i + 1];
    order_[--count_] = slot;
  }
  waiting_[order_[count_++]] = row;
}

template <int kOutputs>
void RowPairs<kOutputs>::emit(const Row& row) {
  names_.push_back(row.name);
  weights_.insert(weights_.end(), row.weights, row.weights + kRowWeights);
}

template <int kOutputs>
void RowPairs<kOutputs>::emit_alone(const Row& row) {
  emit(row);
  names_.push_back(row.name);
  weights_.insert(weights_.end(), kRowWeights, 0);
}

template <int kOutputs>
void RowPairs<kOutputs>::finish() {
  for (int i = 0; i < count_; ++i) emit_alone(waiting_[order_[i]]);
  count_ = 0;
}

template <int kOutputs>
void RowPairs<kOutputs>::clear() {
  names_.clear();
  weights_.clear();
}

template class RowPairs<1>;
template class RowPairs<4>;

}  // namespace niwaki
