#include "kernels/mul/mul.h"

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_MUL(name, isa)                                                                             \
  namespace mul_##name {                                                                                  \
    void same(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const MulParams& params);  \
    void lane(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t pixels, const MulParams& params); \
  }
#include "kernels/mul/kernels.inc"
#undef NIWAKI_MUL

std::span<const MulKernel> mul_kernels() {
  static constexpr MulKernel rows[] = {
#define NIWAKI_MUL(name, isa) {#name, isa, mul_##name::same, mul_##name::lane},
#include "kernels/mul/kernels.inc"
#undef NIWAKI_MUL
  };
  return rows;
}

const MulKernel& select_mul(Isa isa) { return select_kernel(mul_kernels(), isa); }

void mul(const MulKernel& kernel, const Planes& a, const Planes& b, const Planes& out, const MulParams& params,
         ThreadPool& pool) {
  if (out.pixels() == 0) return;
  if (b.height == a.height && b.width == a.width) {
    for_each_piece(out.groups() * out.group_stride, pool, [&](int64_t begin, int64_t bytes) {
      kernel.same(a.data + begin, b.data + begin, out.data + begin, bytes, params);
    });
    return;
  }
  // One loop per group; a task is some pixels of a group, cut at the borders of the images.
  const int64_t area = int64_t{1} * out.height * out.width, pixels = out.pixels();
  const int64_t piece = items_per_task(pixels, 4, out.groups(), 16, pool), pieces = div_up(pixels, piece);
  pool.run(out.groups() * pieces, [&](int64_t task, int) {
    const int64_t group = task / pieces;
    const int64_t end = std::min((task % pieces + 1) * piece, pixels);
    for (int64_t pixel = task % pieces * piece; pixel < end;) {
      const int64_t image = pixel / area, stop = std::min((image + 1) * area, end);
      kernel.lane(a.group(group) + pixel * 4, b.group(group) + image * 4, out.group(group) + pixel * 4, stop - pixel, params);
      pixel = stop;
    }
  });
}

}  // namespace niwaki
