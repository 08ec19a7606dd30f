#include "kernels/byte_attention/byte_attention.h"

#include <algorithm>

#include "kernels/attention/float_products.h"
#include "kernels/byte_attention/products.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_BYTE_ATTENTION(name, isa, bytes)        \
  namespace byte_attention_##name {                    \
    bool find_means(const KeyMeans& keys);             \
    void encode_keys(const KeyCodes& keys);            \
    bool find_value_scales(const ValueScales& values); \
    void encode_values(const ValueCodes& values);      \
    void encode_queries(const QueryCodes& queries);    \
    void find_scores(const ScoreTile& tile);           \
    void encode_weights(const CodedWeights& weights);  \
    void add_values(const ValueTile& tile);            \
    void finish(const ByteAttentionEnd& end);          \
  }
#include "kernels/byte_attention/kernels.inc"
#undef NIWAKI_BYTE_ATTENTION

std::span<const ByteAttentionKernel> byte_attention_kernels() {
  static constexpr ByteAttentionKernel kernels[] = {
#define NIWAKI_BYTE_ATTENTION(name, isa, bytes) \
  {#name,                                       \
   isa,                                         \
   bytes,                                       \
   byte_attention_##name::find_means,           \
   byte_attention_##name::encode_keys,          \
   byte_attention_##name::find_value_scales,    \
   byte_attention_##name::encode_values,        \
   byte_attention_##name::encode_queries,       \
   byte_attention_##name::find_scores,          \
   byte_attention_##name::encode_weights,       \
   byte_attention_##name::add_values,           \
   byte_attention_##name::finish},
#include "kernels/byte_attention/kernels.inc"
#undef NIWAKI_BYTE_ATTENTION
  };
  return kernels;
}

const ByteAttentionKernel& select_byte_attention(Isa isa) { return select_kernel(byte_attention_kernels(), isa); }

bool suits_byte_attention(const AttentionSizes& sizes) {
  return sizes.queries >= kLeastByteQueries && sizes.keys > 0 && sizes.width <= kMostByteWidth;
}

int64_t byte_attention_scratch(const ByteAttentionKernel& kernel, const MatmulKernel& products, const AttentionSizes& sizes) {
  const int64_t otherwise = FloatProducts::scratch_bytes(products, sizes);
  return suits_byte_attention(sizes) ? std::max(ByteProducts::scratch_bytes(kernel, sizes), otherwise) : otherwise;
}

void byte_attention(const ByteAttentionKernel& kernel, const AttentionKernel& otherwise, const MatmulKernel& products,
                    const AttentionSizes& sizes, const AttentionValues& values, uint8_t* scratch, int64_t scratch_step,
                    ThreadPool& pool) {
  const bool suits = suits_byte_attention(sizes);
  for_attention_parts(sizes, pool, [&](int64_t head, int64_t begin, int64_t end, int thread) {
    uint8_t* const memory = scratch + thread * scratch_step;
    if (suits) {
      ByteProducts bytes(kernel, products, sizes, values, memory);
      if (AttentionPart(bytes, sizes, values, head, begin, end).run()) return;
    }
    FloatProducts floats(otherwise, products, sizes, values, reinterpret_cast<float*>(memory));
    AttentionPart(floats, sizes, values, head, begin, end).run();
  });
}

}  // namespace niwaki
