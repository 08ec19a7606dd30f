#include "kernels/attention/attention.h"

#include "kernels/attention/float_products.h"
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

int64_t attention_scratch(const MatmulKernel& products, const AttentionSizes& sizes) {
  return FloatProducts::scratch_bytes(products, sizes);
}

void attention(const AttentionKernel& kernel, const MatmulKernel& products, const AttentionSizes& sizes,
               const AttentionValues& values, uint8_t* scratch, int64_t scratch_step, ThreadPool& pool) {
  for_attention_parts(sizes, pool, [&](int64_t head, int64_t begin, int64_t end, int thread) {
    FloatProducts floats(kernel, products, sizes, values, reinterpret_cast<float*>(scratch + thread * scratch_step));
    AttentionPart(floats, sizes, values, head, begin, end).run();
  });
}

}  // namespace niwaki
