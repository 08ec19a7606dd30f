// The blocks of a sparse layer in the order in which its kernel reads them: see SparseTile.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/memory.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/kernel.h"
#include "kernels/conv/row_pairs.h"

namespace niwaki {

// How a sparse layer is cut: vectors of the largest tile, and groups of input channels whose panel rows are worked on together, a chunk.
struct SparseCut {
  SparseCut(const ConvParams& params, const ConvKernels& kernels);

  // Whether 16 bits reach every row of a chunk.
  bool offsets_fit() const { return int64_t{chunk_groups} * taps * (row_bytes / 8) <= 65535; }
  int32_t begin(int32_t chunk) const { return chunk * chunk_groups; }
  int32_t end(int32_t chunk) const { return begin(chunk) + chunk_groups < groups ? begin(chunk) + chunk_groups : groups; }

  int32_t taps, groups;  // groups: of four input channels
  int32_t vectors;
  int64_t row_bytes;  // of a panel
  int32_t chunk_groups, chunks;
  int32_t outputs;  // padded to whole groups
};

// Blocks that the kernel multiplies in a tile: those that hold weights, and those that make the lists of a set equally long.
struct BlockCount {
  int64_t held = 0, multiplied = 0;
};
BlockCount count_blocks(const ConvParams& params, const int8_t* weight, const ConvKernels& kernels, const SparseCut& cut);

class SparseLists {
 public:
  struct Block {
    uint16_t offset;  // of its row, in units of 8 bytes
    int8_t weights[4];
  };
  struct List {
    uint8_t output = 0;     // within its block of outputs
    std::size_t count = 0;  // of the blocks below
    std::vector<Block> blocks;

    // Those of `rows` that are not zero, of which `blocks` has room for all. `step`: from a row's offset to the next one's.
    void take(const int8_t* rows, int64_t count_of_rows, int64_t step);
  };

  explicit SparseLists(const ConvKernels& kernels) : kernels_(kernels) {}

  // Appends the lists of a block of outputs, whose number is a multiple of ConvKernels::sparse_lists. order: [lists], counts: [sets].
  void append(std::span<const List> lists, uint8_t* order, uint16_t* counts);
  // The same where ConvKernels::pairs is set: blocks lie two by two as row_pairs.h makes them.
  void append_pairs(std::span<const List> lists, uint8_t* order, uint16_t* counts);

  int64_t blocks() const { return blocks_; }  // so far, with the zeros that make lists equally long
  Buffer offsets() const;
  Buffer values() const;

 private:
  const ConvKernels& kernels_;
  RowPairs<1> pairs_;
  std::vector<uint16_t> offsets_;
  std::vector<uint8_t> values_;
  int64_t blocks_ = 0;
};

}  // namespace niwaki
