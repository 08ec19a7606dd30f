// Scaled dot product attention of float32: softmax(q k' * scale + mask) v for every head.
//
// Nothing larger than a few rows of scores is kept. Keys go by in blocks of kAttentionKeys, and a row remembers its greatest score m, the
// sum l of exp(score - m) and the weighted values o. In this order, every step rounded, but the products of the sums over e and over j (see
// matmul.h):
//   score_j = sum over e of (q_e * scale) * k_je, from 0 in the order of e; + mask_j; -infinity for a masked key
//   m'      = max(m, score_j of the block), NaN where one is; with f = exp(m - m')
//   l       = l * f + sum_j, sixteen partial sums and their tree, of p_j = exp(score_j - m')
//   o_v     = o_v * f + p_0 * v_0v + p_1 * v_1v + ..., in the order of j
// and in the end o_v * (1 / l). A row that sees no key becomes zeros, as in torch, or NaN where it is asked for. Causal attention leaves keys out from the end of the 64 rows on in
// which a row lies (kAttentionRows): the others are masked. exp(x) is 2^(x log2 e), and 0 where that power is below -126.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/attention/params.h"
#include "kernels/matmul/matmul.h"

namespace niwaki {

struct AttentionKernel {
  const char* name;
  Isa isa;
  void (*scale)(const AttentionScale& scale);
  void (*weigh)(const AttentionBlock& block);
  void (*finish)(const AttentionEnd& end);
};

std::span<const AttentionKernel> attention_kernels();
const AttentionKernel& select_attention(Isa isa);

inline constexpr int64_t kAttentionKeys = 512, kAttentionRows = 64;

enum class AttentionMask : uint8_t { none, boolean, added };

// q [queries, width], k [keys, width], v [keys, value_width] and the result of each head: rows that begin so many elements apart, in matrices that
// begin at the offsets; `mask` only where there is one.
struct AttentionSizes {
  int64_t queries, keys, width, value_width;
  bool causal;
  float scale;
  float empty;  // what a row becomes that sees no key
  AttentionMask mask;
  int64_t mask_query_step, mask_key_step;  // in elements; 0 where the mask has one row, or one column
  int64_t q_stride, k_stride, v_stride, out_stride;
  std::vector<int64_t> q_offsets, k_offsets, v_offsets, out_offsets, mask_offsets;
};

struct AttentionValues {
  const float *q, *k, *v;
  const void* mask;
  float* out;
};

// Bytes for each thread.
int64_t attention_scratch(const MatmulKernel& products, const AttentionSizes& sizes);

// Thread t works in scratch + t * scratch_step, 64-byte aligned.
void attention(const AttentionKernel& kernel, const MatmulKernel& products, const AttentionSizes& sizes,
               const AttentionValues& values, uint8_t* scratch, int64_t scratch_step, ThreadPool& pool);

}  // namespace niwaki
