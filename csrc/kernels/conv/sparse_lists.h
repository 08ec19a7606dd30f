// The blocks of a sparse layer in the order in which its kernel reads them: see SparseTile.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/memory.h"
#include "kernels/conv/kernel.h"

namespace niwaki {

class SparseLists {
 public:
  struct Block {
    uint16_t offset;  // of its row, in units of 8 bytes
    int8_t weights[4];
  };
  struct List {
    uint8_t output = 0;  // within its block of outputs
    std::vector<Block> blocks;
  };

  explicit SparseLists(const ConvKernels& kernels) : kernels_(kernels) {}

  // Appends the lists of a block of outputs, whose number is a multiple of ConvKernels::sparse_lists. order: [lists], counts: [sets].
  void append(std::span<const List> lists, uint8_t* order, uint16_t* counts);

  int64_t blocks() const { return blocks_; }  // so far, with the zeros that make lists equally long
  Buffer offsets() const;
  Buffer values() const;

 private:
  void append_offset(const Block& block);
  void append_weights(const Block& block);

  const ConvKernels& kernels_;
  std::vector<uint16_t> offsets_;
  std::vector<uint8_t> values_;
  int64_t blocks_ = 0;
};

}  // namespace niwaki
