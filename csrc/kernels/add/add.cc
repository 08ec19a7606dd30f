#include "kernels/add/add.h"

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_ADD(name, isa)                                                                               \
  namespace add_##name {                                                                                    \
    void run(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const AddParams& params);     \
    void maximum(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const AddParams& params); \
    void minimum(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const AddParams& params); \
  }
#include "kernels/add/kernels.inc"
#undef NIWAKI_ADD

std::span<const AddKernel> add_kernels() {
  static constexpr AddKernel rows[] = {
#define NIWAKI_ADD(name, isa) {#name, isa, add_##name::run, add_##name::maximum, add_##name::minimum},
#include "kernels/add/kernels.inc"
#undef NIWAKI_ADD
  };
  return rows;
}

const AddKernel& select_add(Isa isa) { return select_kernel(add_kernels(), isa); }

void add(AddFunction function, const Planes& a, const Planes& b, const Planes& out, const AddParams& params, ThreadPool& pool) {
  for_each_span(a, b, out, pool, [&](const uint8_t* from, const uint8_t* other, uint8_t* to, int64_t bytes) {
    function(from, other, to, bytes, params);
  });
}

}  // namespace niwaki
