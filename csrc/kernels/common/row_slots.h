// Rows that are made of rows of an input and that neighbouring outputs share: as many are kept as one output needs.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

namespace niwaki {

template <std::size_t kMost>
class RowSlots {
 public:
  explicit RowSlots(std::size_t count) : count_(count) { held_.fill(-1); }

  // Calls found(i, slot, is_new) for each of the rows `wanted`: where it is kept, and whether it is not there yet.
  template <typename Found>
  void find(const std::array<int64_t, kMost>& wanted, const Found& found) {
    const auto held_end = held_.begin() + count_;
    const auto wanted_end = wanted.begin() + count_;
    for (std::size_t i = 0; i < count_; ++i) {
      auto slot = std::find(held_.begin(), held_end, wanted[i]);
      const bool is_new = slot == held_end;
      if (is_new) {
        slot = std::find_if(held_.begin(), held_end,
                            [&](int64_t row) { return std::find(wanted.begin(), wanted_end, row) == wanted_end; });
        *slot = wanted[i];
      }
      found(i, static_cast<std::size_t>(slot - held_.begin()), is_new);
    }
  }

 private:
  std::size_t count_;
  std::array<int64_t, kMost> held_;  // rows of the input; -1: none yet
};

}  // namespace niwaki
