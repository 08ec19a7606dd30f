// Blocks of memory that share an arena.
#pragma once

#include <cstdint>
#include <span>

namespace niwaki {

// A block of memory needed from step `first` to step `last`, both included.
struct Block {
  int64_t bytes;
  int first, last;
  int64_t offset = -1;
};

// Gives each block an offset so that no two that are needed at the same time overlap: the largest first, each into the smallest
// gap that holds it. Returns the bytes needed in all. Sizes are multiples of 64.
int64_t place_blocks(std::span<Block> blocks);

}  // namespace niwaki
