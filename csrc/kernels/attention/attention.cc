#include "kernels/attention/attention.h"

#include <algorithm>
#include <limits>

#include "base/memory.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_ATTENTION(name, isa)          \
  namespace attention_##name {               \
    void scale(const AttentionScale& scale); \
    void weigh(const AttentionBlock& block); \
    void finish(const AttentionEnd& end);    \
  }
#include "kernels/attention/kernels.inc"
#undef NIWAKI_ATTENTION

std::span<const AttentionKernel> attention_kernels() {
  static constexpr AttentionKernel kernels[] = {
#define NIWAKI_ATTENTION(name, isa) {#name, isa, attention_##name::scale, attention_##name::weigh, attention_##name::finish},
#include "kernels/attention/kernels.inc"
#undef NIWAKI_ATTENTION
  };
  return kernels;
}

const AttentionKernel& select_attention(Isa isa) { return select_kernel(attention_kernels(), isa); }

namespace {

// Rows of a head that use a block of keys once it is packed, the most; fewer where threads would have nothing to do.
constexpr int64_t kPartRows = 8 * kAttentionRows;

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

// Some rows of one head: whole pieces of kAttentionRows rows, or some that lie in one.
class Part {
 public:
  Part(const AttentionKernel& kernel, const MatmulKernel& products, const AttentionSizes& sizes, const AttentionValues& values,
       float* memory, int64_t head, int64_t begin, int64_t end)
      : kernel_(kernel),
        products_(products),
        sizes_(sizes),
        values_(values),
        scratch_(products, sizes),
        memory_(memory),
        head_(static_cast<std::size_t>(head)),
        begin_(begin),
        rows_(end - begin),
        out_(values.out + (head * sizes.queries + begin) * sizes.value_width) {}

  void run() {
    for (int64_t row = 0; row < rows_; ++row) state_[row] = {-std::numeric_limits<float>::infinity(), 0.0f};
    const int64_t seen = keys_seen(rows_ - 1);
    for (int64_t key = 0; key < seen; key += kAttentionKeys) {
      const int64_t keys = std::min(kAttentionKeys, seen - key);
      pack(key, keys);
      for (int64_t row = 0; row < rows_; row += kAttentionRows)
        run_piece(key, std::min(keys, keys_seen(row) - key), row, std::min(kAttentionRows, rows_ - row));
    }
    kernel_.finish({state_, out_, rows_, sizes_.value_width});
  }

 private:
  // Keys of the piece in which a row lies.
  int64_t keys_seen(int64_t row) const {
    return sizes_.causal ? std::min(((begin_ + row) / kAttentionRows + 1) * kAttentionRows, sizes_.keys) : sizes_.keys;
  }

  // The rows of one piece, a tile of them after the other, as equal as they can be.
  void run_piece(int64_t key, int64_t keys, int64_t first, int64_t count) {
    if (keys <= 0) return;
    const int64_t most = std::min<int64_t>(products_.rows, kAttentionTileRows), tile_rows = div_up(count, div_up(count, most));
    for (int64_t row = first; row < first + count; row += tile_rows) {
      const int64_t rows = std::min(tile_rows, first + count - row);
      multiply_keys(keys, row, rows);
      kernel_.weigh(block_of(key, keys, row, rows));
      multiply_values(key, keys, row, rows);
    }
  }

  // Keys in blocks of columns, [block][width][columns], and values that don't fill vectors.
  void pack(int64_t key, int64_t keys) {
    packed_keys_ = keys;
    const float* k = values_.k + sizes_.k_offsets[head_] + key * sizes_.width;
    for (int64_t c = 0; c < keys; c += products_.columns) {
      const int64_t columns = std::min(products_.columns, keys - c);
      products_.pack_transposed({.from = k + c * sizes_.width,
                                 .stride = sizes_.width,
                                 .panel = memory_ + scratch_.keys + c * sizes_.width,
                                 .panel_stride = round_up(columns, 16),
                                 .depth = sizes_.width,
                                 .columns = columns});
    }
    value_rows_ = values_.v + sizes_.v_offsets[head_] + key * sizes_.value_width;
    value_stride_ = sizes_.value_width;
    if (scratch_.value_pitch == 0) return;
    float* const packed = memory_ + scratch_.values;
    products_.pack_rows({value_rows_, value_stride_, packed, scratch_.value_pitch, keys, sizes_.value_width});
    value_rows_ = packed;
    value_stride_ = scratch_.value_pitch;
  }

  void multiply_keys(int64_t keys, int64_t row, int64_t rows) {
    kernel_.scale({.from = values_.q + sizes_.q_offsets[head_] + (begin_ + row) * sizes_.width,
                   .to = memory_ + scratch_.queries,
                   .count = rows * sizes_.width,
                   .factor = sizes_.scale});
    for (int64_t c = 0; c < keys; c += products_.columns) {
      const int64_t columns = round_up(std::min(products_.columns, keys - c), 16);
      products_.multiply({.a = memory_ + scratch_.queries,
                          .b = memory_ + scratch_.keys + c * sizes_.width,
                          .out = memory_ + c,
                          .a_stride = sizes_.width,
                          .b_stride = round_up(std::min(products_.columns, packed_keys_ - c), 16),
                          .out_stride = scratch_.pitch,
                          .rows = rows,
                          .depth = sizes_.width,
                          .columns = columns,
                          .add = false});
    }
  }

  AttentionBlock block_of(int64_t key, int64_t keys, int64_t row, int64_t rows) {
    AttentionBlock block{};
    block.scores = memory_;
    block.scores_stride = scratch_.pitch;
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
    block.out = out_ + row * sizes_.value_width;
    block.width = sizes_.value_width;
    block.first = key == 0;
    return block;
  }

  void multiply_values(int64_t key, int64_t keys, int64_t row, int64_t rows) {
    products_.multiply({.a = memory_,
                        .b = value_rows_,
                        .out = out_ + row * sizes_.value_width,
                        .a_stride = scratch_.pitch,
                        .b_stride = value_stride_,
                        .out_stride = sizes_.value_width,
                        .rows = rows,
                        .depth = keys,
                        .columns = sizes_.value_width,
                        .add = key > 0});
  }

  const AttentionKernel& kernel_;
  const MatmulKernel& products_;
  const AttentionSizes& sizes_;
  const AttentionValues& values_;
  const Scratch scratch_;
  float* const memory_;
  const std::size_t head_;
  const int64_t begin_, rows_;
  float* const out_;
  AttentionRow state_[kPartRows];
  int64_t packed_keys_ = 0;            // of the block of keys, which not all pieces see to its end
  const float* value_rows_ = nullptr;  // of the block of keys
  int64_t value_stride_ = 0;
};

}  // namespace

int64_t attention_scratch(const MatmulKernel& products, const AttentionSizes& sizes) {
  return Scratch(products, sizes).floats * static_cast<int64_t>(sizeof(float));
}

void attention(const AttentionKernel& kernel, const MatmulKernel& products, const AttentionSizes& sizes,
               const AttentionValues& values, uint8_t* scratch, int64_t scratch_step, ThreadPool& pool) {
  constexpr int64_t kLeastRows = 16, kEach = 2;  // tasks for each thread
  const auto heads = static_cast<int64_t>(sizes.q_offsets.size());
  int64_t rows = kPartRows;
  while (rows > kLeastRows && pool.threads() > 1 && heads * div_up(sizes.queries, rows) < kEach * pool.threads()) rows /= 2;
  const int64_t parts = div_up(sizes.queries, rows);
  pool.run(heads * parts, [&](int64_t task, int thread) {
    const int64_t begin = task % parts * rows, end = std::min(begin + rows, sizes.queries);
    auto* memory = reinterpret_cast<float*>(scratch + thread * scratch_step);
    Part(kernel, products, sizes, values, memory, task / parts, begin, end).run();
  });
}

}  // namespace niwaki
