// The products of attention in 8 bits, for AttentionPart.
#pragma once

#include <algorithm>

#include "kernels/attention/part.h"
#include "kernels/byte_attention/byte_attention.h"

namespace niwaki {

class ByteProducts {
 public:
  ByteProducts(const ByteAttentionKernel& kernel, const MatmulKernel& floats, const AttentionSizes& sizes,
               const AttentionValues& values, uint8_t* memory)
      : kernel_(kernel), floats_(floats), sizes_(sizes), values_(values), scratch_(kernel, sizes), memory_(memory) {}

  static int64_t scratch_bytes(const ByteAttentionKernel& kernel, const AttentionSizes& sizes) {
    return Scratch(kernel, sizes).bytes;
  }

  int64_t rows() const { return kByteAttentionRows; }

  bool pack(std::size_t head, int64_t key, int64_t keys) {
    const float* const k = values_.k + sizes_.k_offsets[head];
    const float* const v = values_.v + sizes_.v_offsets[head];
    if (key == 0) {
      if (!kernel_.find_means({k, sizes_.keys, sizes_.width, sizes_.k_stride, floats(scratch_.means)})) return false;
      if (!kernel_.find_value_scales({v, sizes_.keys, sizes_.value_width, sizes_.v_stride, floats(scratch_.value_scales),
                                      floats(scratch_.value_inverses)}))
        return false;
    }
    floats_.pack_transposed({.from = k + key * sizes_.k_stride,
                             .stride = sizes_.k_stride,
                             .panel = floats(scratch_.panel),
                             .panel_stride = scratch_.pitch,
                             .depth = sizes_.width,
                             .columns = keys});
    kernel_.encode_values({v + key * sizes_.v_stride, keys, sizes_.value_width, sizes_.v_stride, floats(scratch_.value_inverses),
                           at(scratch_.values), scratch_.value_pitch});
    kernel_.encode_keys({.panel = floats(scratch_.panel),
                         .pitch = scratch_.pitch,
                         .width = sizes_.width,
                         .columns = keys,
                         .means = floats(scratch_.means),
                         .groups = at(scratch_.keys),
                         .scales = floats(scratch_.key_scales),
                         .begin = reinterpret_cast<int32_t*>(at(scratch_.begin))});
    return true;
  }

  void weigh(std::size_t head, int64_t query, AttentionBlock& block) {
    block.scores = floats(0);
    block.scores_stride = scratch_.pitch;
    kernel_.encode_queries({.q = values_.q + sizes_.q_offsets[head] + query * sizes_.q_stride,
                            .rows = block.rows,
                            .width = sizes_.width,
                            .stride = sizes_.q_stride,
                            .factor = sizes_.scale,
                            .codes = at(scratch_.queries),
                            .pitch = scratch_.query_pitch,
                            .scales = floats(scratch_.query_scales)});
    kernel_.find_scores({.codes = at(scratch_.queries),
                         .code_pitch = scratch_.query_pitch,
                         .query_scales = floats(scratch_.query_scales),
                         .groups = at(scratch_.keys),
                         .group_pitch = scratch_.pitch,
                         .begin = reinterpret_cast<const int32_t*>(at(scratch_.begin)),
                         .key_scales = floats(scratch_.key_scales),
                         .scores = block.scores,
                         .scores_stride = block.scores_stride,
                         .depth = div_up(sizes_.width, kernel_.codes()),
                         .columns = round_up(block.keys, 16)});
    kernel_.encode_weights({block, at(scratch_.high), at(scratch_.low), scratch_.pitch});
  }

  void add_values(const AttentionBlock& block) {
    kernel_.add_values({.high = at(scratch_.high),
                        .low = at(scratch_.low),
                        .code_pitch = scratch_.pitch,
                        .groups = at(scratch_.values),
                        .group_pitch = scratch_.value_pitch,
                        .out = block.out,
                        .out_stride = block.out_stride,
                        .rows = block.rows,
                        .depth = div_up(block.keys, kernel_.codes()),
                        .columns = sizes_.value_width,
                        .add = !block.first});
  }

  void finish(const AttentionRow* state, float* out, int64_t rows) {
    kernel_.finish({state, out, rows, sizes_.value_width, sizes_.out_stride, floats(scratch_.value_scales), sizes_.empty});
  }

 private:
  // What a thread holds, each part on a cache line; the scores begin at 0.
  struct Scratch {
    int64_t pitch, value_pitch, query_pitch;  // of keys, channels of values, codes of a query
    int64_t panel, keys, key_scales, begin, means, values, value_scales, value_inverses, queries, query_scales, high, low, bytes;

    Scratch(const ByteAttentionKernel& kernel, const AttentionSizes& sizes) {
      pitch = round_up(std::min(sizes.keys, kAttentionKeys), 16);
      value_pitch = round_up(sizes.value_width, 16);
      query_pitch = round_up(sizes.width, 16);
      bytes = 0;
      const auto take = [this](int64_t count, int64_t each) {
        const int64_t begins = bytes;
        bytes += round_up(count * each, 64);
        return begins;
      };
      take(kByteAttentionRows * pitch, 4);
      panel = take(sizes.width * pitch, 4);
      keys = take(div_up(sizes.width, kernel.codes()) * pitch, 4);
      key_scales = take(pitch, 4);
      begin = take(pitch, 4);
      means = take(query_pitch, 4);
      values = take(div_up(pitch, kernel.codes()) * value_pitch, 4);
      value_scales = take(value_pitch, 4);
      value_inverses = take(value_pitch, 4);
      queries = take(kByteAttentionRows * query_pitch, kernel.code_bytes());
      query_scales = take(kByteAttentionRows, 4);
      high = take(kByteAttentionRows * pitch, kernel.code_bytes());
      low = take(kernel.bytes ? kByteAttentionRows * pitch : 0, 1);
    }
  };

  uint8_t* at(int64_t offset) const { return memory_ + offset; }
  float* floats(int64_t offset) const { return reinterpret_cast<float*>(memory_ + offset); }

  const ByteAttentionKernel& kernel_;
  const MatmulKernel& floats_;
  const AttentionSizes& sizes_;
  const AttentionValues& values_;
  const Scratch scratch_;
  uint8_t* const memory_;
};

}  // namespace niwaki
