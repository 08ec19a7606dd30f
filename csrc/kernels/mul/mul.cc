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

void scale_pixels(const MulKernel& kernel, const Planes& a, const Planes& b, int64_t begin, int64_t end, int64_t first,
                  int64_t last, uint8_t* out, int64_t out_stride, const MulParams& params) {
  const int64_t area = int64_t{1} * a.height * a.width;
  for (int64_t group = first; group < last; ++group, out += out_stride) {
    for (int64_t pixel = begin; pixel < end;) {  // cut at the borders of the images
      const int64_t image = pixel / area, stop = std::min((image + 1) * area, end);
      kernel.lane(a.group(group) + pixel * 4, b.group(group) + image * 4, out + (pixel - begin) * 4, stop - pixel, params);
      pixel = stop;
    }
  }
}

void mul(const MulKernel& kernel, const Planes& a, const Planes& b, const Planes& out, const MulParams& params,
         ThreadPool& pool) {
  if (out.pixels() == 0) return;
  if (b.height == a.height && b.width == a.width) {
    for_each_span(a, b, out, pool, [&](const uint8_t* from, const uint8_t* other, uint8_t* to, int64_t bytes) {
      kernel.same(from, other, to, bytes, params);
    });
    return;
  }
  for_each_part(div_up(out.pixels(), 16), out.groups(), 64, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    scale_pixels(kernel, a, b, begin * 16, std::min(end * 16, out.pixels()), first, last, out.group(first) + begin * 64,
                 out.group_stride, params);
  });
}

}  // namespace niwaki
