#include "runtime/blocks.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

namespace niwaki {

int64_t place_blocks(std::span<Block> blocks) {
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<const Block*> placed;  // by offset
  int64_t total = 0;
  for (size_t index : order) {
    Block& block = blocks[index];
    int64_t end = 0, best = -1, best_gap = std::numeric_limits<int64_t>::max();
    for (const Block* other : placed) {
      if (other->last < block.first || block.last < other->first) continue;
      const int64_t gap = other->offset - end;
      if (gap >= block.bytes && gap < best_gap) best = end, best_gap = gap;
      end = std::max(end, other->offset + other->bytes);
    }
    block.offset = best >= 0 ? best : end;
    total = std::max(total, block.offset + block.bytes);
    const auto where = std::upper_bound(placed.begin(), placed.end(), &block,
                                        [](const Block* a, const Block* b) { return a->offset < b->offset; });
    placed.insert(where, &block);
  }
  return total;
}

}  // namespace niwaki
