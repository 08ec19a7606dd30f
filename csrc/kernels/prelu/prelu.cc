#include "kernels/prelu/prelu.h"

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_PRELU(name, isa)                                                                                \
  namespace prelu_##name {                                                                                     \
    void run(const uint8_t* in, uint8_t* out, int64_t bytes, const float* factors, const PreluParams& params); \
  }
#include "kernels/prelu/kernels.inc"
#undef NIWAKI_PRELU

std::span<const PreluKernel> prelu_kernels() {
  static constexpr PreluKernel rows[] = {
#define NIWAKI_PRELU(name, isa) {#name, isa, prelu_##name::run},
#include "kernels/prelu/kernels.inc"
#undef NIWAKI_PRELU
  };
  return rows;
}

const PreluKernel& select_prelu(Isa isa) { return select_kernel(prelu_kernels(), isa); }

void prelu(const PreluKernel& kernel, const Planes& in, const Planes& out, const float* factors, const PreluParams& params,
           ThreadPool& pool) {
  for_each_part(div_up(out.pixels(), 16), out.groups(), 64, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    for (int64_t group = first; group < last; ++group)
      kernel.run(in.group(group) + begin * 64, out.group(group) + begin * 64, (end - begin) * 64, factors + group * 4, params);
  });
}

}  // namespace niwaki
