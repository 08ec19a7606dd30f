// The blocks of a sparse layer in the order in which the pick kernel reads them: see PickTile.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/conv/conv.h"
#include "kernels/conv/kernel.h"
#include "kernels/conv/sparse_lists.h"

namespace niwaki {

// Steps of a layer's tiles, about: what each set's longest list has, and what windows add to that.
double count_picks(const ConvParams& params, const int8_t* weight, const ConvKernels& kernels);

class PickLists {
 public:
  explicit PickLists(const ConvKernels& kernels)
      : lanes_of_set_(static_cast<std::size_t>(kernels.lanes)), by_bytes_(kernels.pick_bytes == 4) {}

  // Appends a tile: kPickSets * lanes lists, whose offsets are groups.
  void append(std::span<const SparseLists::List> lists);

  int64_t steps() const { return static_cast<int64_t>(windows.size()); }  // so far, in whole pairs

  std::vector<uint16_t> counts, windows;
  std::vector<uint8_t> lanes, weights, places;

 private:
  void append_set(std::span<const SparseLists::List* const> lists);
  void set_lane(std::size_t lane, bool odd, uint32_t group);  // of the last step, or of the last pair's first or second one

  std::size_t lanes_of_set_;
  bool by_bytes_;
};

}  // namespace niwaki
