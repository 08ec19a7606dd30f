#include "kernels/conv/pick_lists.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/memory.h"
#include "kernels/conv/rows.h"

namespace niwaki {

double count_picks(const ConvParams& params, const int8_t* weight, const ConvKernels& kernels) {
  // Windows that don't hold the next block of every list: 1.00 to 1.12 in layers of 256 to 1,024 inputs with 50 to 85 % zeros; narrow ones
  // are short of 1.1 to 1.4.
  const double more = kernels.lanes < 8 ? 1.3 : 1.1;
  const int32_t groups = (params.in_channels + 3) / 4, width = kPickSets * kernels.lanes;
  WeightRows source(params, weight);
  std::vector<int32_t> counts;
  int64_t steps = 0;
  for (int32_t first = 0; first < params.out_channels; first += width) {
    counts.assign(static_cast<std::size_t>(width), 0);
    for (int32_t i = 0; i < width && first + i < params.out_channels; ++i) {
      const int8_t* rows = source.of(first + i, 0, groups);
      int32_t& held = counts[static_cast<std::size_t>(i)];
      for (int32_t row = 0; row < groups; ++row) held += weights_of_row(rows, row) != 0;
    }
    std::sort(counts.begin(), counts.end());
    for (std::size_t last = static_cast<std::size_t>(kernels.lanes) - 1; last < counts.size();
         last += static_cast<std::size_t>(kernels.lanes))
      steps += round_up(counts[last], 2);
  }
  return more * static_cast<double>(steps);
}

void PickLists::append(std::span<const SparseLists::List> lists) {
  std::vector<std::size_t> order(lists.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return lists[a].count < lists[b].count; });
  const std::size_t first = places.size();
  places.resize(first + lists.size());
  std::vector<const SparseLists::List*> set;
  for (std::size_t i = 0; i < order.size(); ++i) {
    places[first + order[i]] = static_cast<uint8_t>(i);
    set.push_back(&lists[order[i]]);
    if (set.size() < lanes_of_set_) continue;
    append_set(set);
    set.clear();
  }
}

void PickLists::set_lane(std::size_t lane, bool odd, uint32_t group) {
  if (!by_bytes_) {
    lanes[lanes.size() + 2 * lane - 2 * lanes_of_set_ + odd] = static_cast<uint8_t>(group);
    return;
  }
  uint8_t* const bytes = lanes.data() + lanes.size() - 4 * lanes_of_set_ + 4 * lane;
  for (uint32_t i = 0; i < 4; ++i) bytes[i] = static_cast<uint8_t>(group * 4 + i);
}

// Each window begins with the first group that a list still needs, and each list goes on if its next block is within: the number of steps
// is hardly more than that of the longest list's blocks.
void PickLists::append_set(std::span<const SparseLists::List* const> lists) {
  constexpr uint32_t kEnd = std::numeric_limits<uint32_t>::max();
  const auto window = static_cast<uint32_t>(2 * lanes_of_set_);
  std::vector<std::size_t> done(lists.size(), 0);
  const auto next = [&](std::size_t i) -> uint32_t {
    return done[i] < lists[i]->count ? lists[i]->blocks[done[i]].offset : kEnd;
  };
  std::size_t steps = 0;
  for (;; ++steps) {
    uint32_t begin = kEnd;
    for (std::size_t i = 0; i < lists.size(); ++i) begin = std::min(begin, next(i));
    if (begin != kEnd) begin = begin / static_cast<uint32_t>(lanes_of_set_) * static_cast<uint32_t>(lanes_of_set_);
    if (begin == kEnd && steps % 2 == 0) break;
    const bool odd = steps % 2 == 1;
    if (by_bytes_) lanes.resize(lanes.size() + 4 * lanes_of_set_);
    else if (!odd) lanes.resize(lanes.size() + 2 * lanes_of_set_);
    windows.push_back(begin == kEnd ? uint16_t{0} : static_cast<uint16_t>(begin));
    weights.resize(weights.size() + lanes_of_set_ * kRowBytes);
    if (begin == kEnd) continue;  // a step of zeros makes a pair of the last one
    uint8_t* const step = weights.data() + weights.size() - lanes_of_set_ * kRowBytes;
    for (std::size_t i = 0; i < lists.size(); ++i) {
      const uint32_t group = next(i);
      if (group == kEnd || group - begin >= window) continue;
      set_lane(i, odd, group - begin);
      std::memcpy(step + i * kRowBytes, lists[i]->blocks[done[i]].weights, kRowBytes);
      ++done[i];
    }
  }
  counts.push_back(static_cast<uint16_t>(steps / 2));
}

}  // namespace niwaki
