// The products of attention in float32, for AttentionPart.
#pragma once

#include <algorithm>

#include "kernels/attention/part.h"

namespace niwaki {

class FloatProducts {
 public:
  FloatProducts(const AttentionKernel& kernel, const MatmulKernel& products, const AttentionSizes& sizes,
                const AttentionValues& values, float* memory)
      : kernel_(kernel), products_(products), sizes_(sizes), values_(values), scratch_(products, sizes), memory_(memory) {}

  static int64_t scratch_bytes(const MatmulKernel& products, const AttentionSizes& sizes) {
    return Scratch(products, sizes).floats * static_cast<int64_t>(sizeof(float));
  }

  int64_t rows() const { return products_.rows; }

  // Keys in blocks of columns, [block][width][columns], and values that don't fill vectors.
  bool pack(std::size_t head, int64_t key, int64_t keys) {
    packed_keys_ = keys;
    const float* k = values_.k + sizes_.k_offsets[head] + key * sizes_.k_stride;
    for (int64_t c = 0; c < keys; c += products_.columns) {
      const int64_t columns = std::min(products_.columns, keys - c);
      products_.pack_transposed({.from = k + c * sizes_.k_stride,
                                 .stride = sizes_.k_stride,
                                 .panel = memory_ + scratch_.keys + c * sizes_.width,
                                 .panel_stride = round_up(columns, 16),
                                 .depth = sizes_.width,
                                 .columns = columns});
    }
    value_rows_ = values_.v + sizes_.v_offsets[head] + key * sizes_.v_stride;
    value_stride_ = sizes_.v_stride;
    if (scratch_.value_pitch == 0) return true;
    float* const packed = memory_ + scratch_.values;
    products_.pack_rows({value_rows_, value_stride_, packed, scratch_.value_pitch, keys, sizes_.value_width});
    value_rows_ = packed;
    value_stride_ = scratch_.value_pitch;
    return true;
  }

  void weigh(std::size_t head, int64_t query, AttentionBlock& block) {
    block.scores = memory_;
    block.scores_stride = scratch_.pitch;
    for (int64_t row = 0; row < block.rows; ++row) {
      kernel_.scale({.from = values_.q + sizes_.q_offsets[head] + (query + row) * sizes_.q_stride,
                     .to = memory_ + scratch_.queries + row * sizes_.width,
                     .count = sizes_.width,
                     .factor = sizes_.scale});
    }
    for (int64_t c = 0; c < block.keys; c += products_.columns) {
      products_.multiply({.a = memory_ + scratch_.queries,
                          .b = memory_ + scratch_.keys + c * sizes_.width,
                          .out = memory_ + c,
                          .a_stride = sizes_.width,
                          .b_stride = round_up(std::min(products_.columns, packed_keys_ - c), 16),
                          .out_stride = scratch_.pitch,
                          .rows = block.rows,
                          .depth = sizes_.width,
                          .columns = round_up(std::min(products_.columns, block.keys - c), 16),
                          .add = false});
    }
    kernel_.weigh(block);
  }

  void add_values(const AttentionBlock& block) {
    products_.multiply({.a = memory_,
                        .b = value_rows_,
                        .out = block.out,
                        .a_stride = scratch_.pitch,
                        .b_stride = value_stride_,
                        .out_stride = block.out_stride,
                        .rows = block.rows,
                        .depth = block.keys,
                        .columns = sizes_.value_width,
                        .add = !block.first});
  }

  void finish(const AttentionRow* state, float* out, int64_t rows) {
    kernel_.finish({state, out, rows, sizes_.value_width, sizes_.out_stride, sizes_.empty});
  }

 private:
  // What a thread holds, in floats.
  struct Scratch {
    int64_t block_keys;             // of a block of keys, the most
    int64_t pitch;                  // of a row of scores
    int64_t value_pitch;            // of a row of packed values, 0 where they are read where they lie
    int64_t queries, keys, values;  // where they begin; the scores do at 0
    int64_t floats;

    Scratch(const MatmulKernel& products, const AttentionSizes& sizes) {
      block_keys = std::min(sizes.keys, kAttentionKeys);
      pitch = round_up(block_keys, 16);
      value_pitch = sizes.value_width % 16 == 0 ? 0 : round_up(sizes.value_width, 16);
      queries = round_up(products.rows * pitch, 16);
      keys = queries + round_up(products.rows * sizes.width, 16);
      values = keys + sizes.width * pitch;
      floats = values + block_keys * value_pitch;
    }
  };

  const AttentionKernel& kernel_;
  const MatmulKernel& products_;
  const AttentionSizes& sizes_;
  const AttentionValues& values_;
  const Scratch scratch_;
  float* const memory_;
  int64_t packed_keys_ = 0;            // of the block of keys, which not all pieces see to its end
  const float* value_rows_ = nullptr;  // of the block of keys
  int64_t value_stride_ = 0;
};

}  // namespace niwaki
