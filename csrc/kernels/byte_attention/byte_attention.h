// Scaled dot product attention whose two products multiply whole numbers: attention of float32 values (see attention.h), each of which is made
// a code of 8 bits whenever it runs. With "/ 127" for a product with float(1 / 127), "* (127 / x)" for 0 where x < 1e-30, and all else rounded
// step by step:
//   mean_e   = (k_0e + k_1e + ...) * (1 / keys); softmax does not change when all keys are shifted alike
//   of a key: g = greatest |k_je - mean_e|, code = round((k_je - mean_e) * (127 / g)), scale = g / 127; of a query the same of q_e * scale
//   of a channel of the values: g = greatest |v_je| of all keys
//   score_j  = float(sum over e of codes) * (scale of the key * scale of the query); + mask_j; -infinity for a masked key
//   m'       = max(m, score_j of the block), NaN where one is; with f = exp(m - m')
//   w_j      = trunc(p * 16383 + 0.5), 14 bits, of p = 2^((score_j - m') * log2 e), 0 below 2^-20; the sum fused
//   l        = l * f + float(sum over j of w_j)
//   o_v      = o_v * f + float(sum over j of w_j * code of v_jv)
// and in the end (o_v * (1 / l)) * scale of the channel. Sums of products are exact. A row that sees no key becomes zeros, or NaN where it is asked for; one with a score
// or a query that is infinite or no number NaN. A head with keys of 1e37 and more, with keys whose sum is infinite or with values that are not
// finite is computed in float32, and so are few queries.
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/attention/attention.h"
#include "kernels/byte_attention/params.h"

namespace niwaki {

struct ByteAttentionKernel {
  const char* name;
  Isa isa;
  bool bytes;  // codes are bytes, four in a group; else words, two in a group
  bool (*find_means)(const KeyMeans& keys);
  void (*encode_keys)(const KeyCodes& keys);
  bool (*find_value_scales)(const ValueScales& values);
  void (*encode_values)(const ValueCodes& values);
  void (*encode_queries)(const QueryCodes& queries);
  void (*find_scores)(const ScoreTile& tile);
  void (*encode_weights)(const CodedWeights& weights);
  void (*add_values)(const ValueTile& tile);
  void (*finish)(const ByteAttentionEnd& end);

  int64_t codes() const { return bytes ? 4 : 2; }  // of a row or column in a group
  int64_t code_bytes() const { return bytes ? 1 : 2; }
};

std::span<const ByteAttentionKernel> byte_attention_kernels();
const ByteAttentionKernel& select_byte_attention(Isa isa);

// Below so many queries, coding keys and values costs more than it saves.
inline constexpr int64_t kLeastByteQueries = 16;
// Wider queries are left to float32: their scores' sums would not be exact as floats.
inline constexpr int64_t kMostByteWidth = 1024;

bool suits_byte_attention(const AttentionSizes& sizes);

// Bytes for each thread.
int64_t byte_attention_scratch(const ByteAttentionKernel& kernel, const MatmulKernel& products, const AttentionSizes& sizes);

// As attention(), whose kernel computes what does not suit 8 bits.
void byte_attention(const ByteAttentionKernel& kernel, const AttentionKernel& otherwise, const MatmulKernel& products,
                    const AttentionSizes& sizes, const AttentionValues& values, uint8_t* scratch, int64_t scratch_step,
                    ThreadPool& pool);

}  // namespace niwaki
