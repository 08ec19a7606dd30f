// How attention goes through the rows and keys of a head, whatever its products are made of.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/attention/attention.h"

namespace niwaki {

// Rows of a head that use a block of keys once it is packed, the most; fewer where threads would have nothing to do.
inline constexpr int64_t kAttentionPartRows = 8 * kAttentionRows;

// Some rows of one head: whole pieces of kAttentionRows rows, or some that lie in one. `Products` has
//   int64_t rows()                                            of a tile
//   bool pack(head, key, keys)                                a block of keys and values; key 0 comes first
//   void weigh(head, query, AttentionBlock&)                  scores of a tile of rows, and their weights
//   void add_values(const AttentionBlock&)                    block.out += weights * values
//   void finish(state, out, rows)
// where false says that the head's numbers don't suit these products: the same for all parts of a head.
template <typename Products>
class AttentionPart {
 public:
  AttentionPart(Products& products, const AttentionSizes& sizes, const AttentionValues& values, int64_t head, int64_t begin,
                int64_t end)
      : products_(products),
        sizes_(sizes),
        values_(values),
        head_(static_cast<std::size_t>(head)),
        begin_(begin),
        rows_(end - begin),
        out_(values.out + sizes.out_offsets[static_cast<std::size_t>(head)] + begin * sizes.out_stride) {}

  bool run() {
    for (int64_t row = 0; row < rows_; ++row) state_[row] = {-std::numeric_limits<float>::infinity(), 0.0f};
    const int64_t seen = keys_seen(rows_ - 1);
    for (int64_t key = 0; key < seen; key += kAttentionKeys) {
      const int64_t keys = std::min(kAttentionKeys, seen - key);
      if (!products_.pack(head_, key, keys)) return false;
      for (int64_t row = 0; row < rows_; row += kAttentionRows)
        run_piece(key, std::min(keys, keys_seen(row) - key), row, std::min(kAttentionRows, rows_ - row));
    }
    products_.finish(state_, out_, rows_);
    return true;
  }

 private:
  // Keys of the piece in which a row lies.
  int64_t keys_seen(int64_t row) const {
    return sizes_.causal ? std::min(((begin_ + row) / kAttentionRows + 1) * kAttentionRows, sizes_.keys) : sizes_.keys;
  }

  // The rows of one piece, a tile of them after the other, as equal as they can be.
  void run_piece(int64_t key, int64_t keys, int64_t first, int64_t count) {
    if (keys <= 0) return;
    const int64_t most = std::min<int64_t>(products_.rows(), kAttentionTileRows), tile_rows = div_up(count, div_up(count, most));
    for (int64_t row = first; row < first + count; row += tile_rows) {
      AttentionBlock block = block_of(key, keys, row, std::min(tile_rows, first + count - row));
      products_.weigh(head_, begin_ + row, block);
      products_.add_values(block);
    }
  }

  AttentionBlock block_of(int64_t key, int64_t keys, int64_t row, int64_t rows) {
    AttentionBlock block{};
    block.rows = rows;
    block.keys = keys;
    if (sizes_.mask != AttentionMask::none) {
      const int64_t at = sizes_.mask_offsets[head_] + (begin_ + row) * sizes_.mask_query_step + key * sizes_.mask_key_step;
      if (sizes_.mask == AttentionMask::boolean) block.bools = static_cast<const uint8_t*>(values_.mask) + at;
      else block.addends = static_cast<const float*>(values_.mask) + at;
    }
    block.mask_row_step = sizes_.mask_query_step;
    block.mask_key_step = sizes_.mask_key_step;
    block.visible = sizes_.causal ? begin_ + row + 1 - key : keys;
    block.state = state_ + row;
    block.out = out_ + row * sizes_.out_stride;
    block.width = sizes_.value_width;
    block.out_stride = sizes_.out_stride;
    block.first = key == 0;
    return block;
  }

  Products& products_;
  const AttentionSizes& sizes_;
  const AttentionValues& values_;
  const std::size_t head_;
  const int64_t begin_, rows_;
  float* const out_;
  AttentionRow state_[kAttentionPartRows];
};

// Calls function(head, begin, end, thread) for parts of all heads.
template <typename Function>
void for_attention_parts(const AttentionSizes& sizes, ThreadPool& pool, const Function& function) {
  constexpr int64_t kLeastRows = 16, kEach = 2;  // tasks for each thread
  const auto heads = static_cast<int64_t>(sizes.q_offsets.size());
  int64_t rows = kAttentionPartRows;
  while (rows > kLeastRows && pool.threads() > 1 && heads * div_up(sizes.queries, rows) < kEach * pool.threads()) rows /= 2;
  const int64_t parts = div_up(sizes.queries, rows);
  pool.run(heads * parts, [&](int64_t task, int thread) {
    const int64_t begin = task % parts * rows;
    function(task / parts, begin, std::min(begin + rows, sizes.queries), thread);
  });
}

}  // namespace niwaki
