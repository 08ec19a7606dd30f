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
    for_each_span(a, b, out, pool, [&](const uint8_t* from, const uint8_t* other, uint8_t* to, int64_t bytes) {
      kernel.same(from, other, to, bytes, params);
    });
    return;
  }
  // Cut at the borders of the images, too.
  const int64_t area = int64_t{1} * out.height * out.width, pixels = out.pixels();
  for_each_part(div_up(pixels, 16), out.groups(), 64, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    const int64_t end_pixel = std::min(end * 16, pixels);
    for (int64_t group = first; group < last; ++group) {
      for (int64_t pixel = begin * 16; pixel < end_pixel;) {
        const int64_t image = pixel / area, stop = std::min((image + 1) * area, end_pixel);
        kernel.lane(a.group(group) + pixel * 4, b.group(group) + image * 4, out.group(group) + pixel * 4, stop - pixel, params);
        pixel = stop;
      }
    }
  });
}

}  // namespace niwaki
