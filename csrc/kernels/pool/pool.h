// Max, average and adaptive average pooling.
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/pool/params.h"
#include "kernels/layout.h"

namespace niwaki {

struct PoolKernel {
  const char* name;
  Isa isa;
  void (*max)(const PoolGroup& group, const PoolParams& params);  // the window always touches the image
  void (*average)(const PoolGroup& group, const PoolParams& params);
  // Window of output row y: [floor(y * in / out), ceil((y + 1) * in / out)); only scale, zeros, low and high of params are read.
  void (*adaptive)(const PoolGroup& group, const PoolParams& params);
};

std::span<const PoolKernel> pool_kernels();
const PoolKernel& select_pool(Isa isa);

void max_pool2d(const PoolKernel& kernel, const Planes& in, const Planes& out, const PoolParams& params, ThreadPool& pool);
void avg_pool2d(const PoolKernel& kernel, const Planes& in, const Planes& out, const PoolParams& params, ThreadPool& pool);
void adaptive_avg_pool2d(const PoolKernel& kernel, const Planes& in, const Planes& out, const PoolParams& params,
                         ThreadPool& pool);

}  // namespace niwaki
