#include "kernels/pool/pool.h"

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_POOL(name, isa)                                       \
  namespace pool_##name {                                            \
    void max(const PoolGroup& group, const PoolParams& params);      \
    void average(const PoolGroup& group, const PoolParams& params);  \
    void adaptive(const PoolGroup& group, const PoolParams& params); \
  }
#include "kernels/pool/kernels.inc"
#undef NIWAKI_POOL

std::span<const PoolKernel> pool_kernels() {
  static constexpr PoolKernel rows[] = {
#define NIWAKI_POOL(name, isa) {#name, isa, pool_##name::max, pool_##name::average, pool_##name::adaptive},
#include "kernels/pool/kernels.inc"
#undef NIWAKI_POOL
  };
  return rows;
}

const PoolKernel& select_pool(Isa isa) { return select_kernel(pool_kernels(), isa); }

namespace {

using PoolFunction = void (*)(const PoolGroup& group, const PoolParams& params);

void for_each_group(PoolFunction function, const Planes& in, const Planes& out, const PoolParams& params, ThreadPool& pool) {
  if (out.pixels() == 0) return;
  const int64_t row_bytes = int64_t{4} * in.height * in.width / out.height;
  for_each_part(int64_t{1} * out.images * out.height, out.groups(), row_bytes, pool,
                [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
                  for (int64_t index = first; index < last; ++index) {
                    const PoolGroup group = {in.group(index), out.group(index), in.height, in.width,
                                             out.height,      out.width,        begin,     end};
                    function(group, params);
                  }
                });
}

}  // namespace

void max_pool2d(const PoolKernel& kernel, const Planes& in, const Planes& out, const PoolParams& params, ThreadPool& pool) {
  for_each_group(kernel.max, in, out, params, pool);
}

void avg_pool2d(const PoolKernel& kernel, const Planes& in, const Planes& out, const PoolParams& params, ThreadPool& pool) {
  for_each_group(kernel.average, in, out, params, pool);
}

void adaptive_avg_pool2d(const PoolKernel& kernel, const Planes& in, const Planes& out, const PoolParams& params,
                         ThreadPool& pool) {
  for_each_group(kernel.adaptive, in, out, params, pool);
}

}  // namespace niwaki
