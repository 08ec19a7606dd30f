#include "kernels/quantize/quantize.h"

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_QUANTIZE(name, isa)                                                                            \
  namespace quantize_##name {                                                                                 \
  void quantize(const float* const in[4], uint8_t* out, int64_t pixels, const QuantizeParams& params);        \
  void dequantize(const uint8_t* in, float* const out[4], int64_t pixels, const QuantizeParams& params);      \
  }
#include "kernels/quantize/kernels.inc"
#undef NIWAKI_QUANTIZE

std::span<const QuantizeKernel> quantize_kernels() {
  static constexpr QuantizeKernel rows[] = {
#define NIWAKI_QUANTIZE(name, isa) {#name, isa, quantize_##name::quantize, quantize_##name::dequantize},
#include "kernels/quantize/kernels.inc"
#undef NIWAKI_QUANTIZE
  };
  return rows;
}

const QuantizeKernel& select_quantize(Isa isa) { return select_kernel(quantize_kernels(), isa); }

namespace {

// function(group, lane in the group's plane, planes of floats, pixels): pieces of one image and one group of four channels.
template <typename Float, typename Function>
void for_each_block(const Planes& planes, Float* values, ThreadPool& pool, const Function& function) {
  const int64_t area = int64_t{1} * planes.height * planes.width;
  if (area == 0) return;
  const int64_t loops = int64_t{1} * planes.images * planes.groups();
  const int64_t piece = items_per_task(area, 20, loops, 16, pool), pieces = div_up(area, piece);
  pool.run(loops * pieces, [&](int64_t task, int) {
    const int64_t begin = task % pieces * piece, pixels = std::min(piece, area - begin);
    const int64_t group = task / pieces % planes.groups(), image = task / pieces / planes.groups();
    Float* channels[4] = {};
    for (int64_t c = 0; c < 4 && group * 4 + c < planes.channels; ++c)
      channels[c] = values + (image * planes.channels + group * 4 + c) * area + begin;
    function(group, image * area + begin, channels, pixels);
  });
}

}  // namespace

void quantize(const QuantizeKernel& kernel, const float* values, const Planes& out, const QuantizeParams& params, ThreadPool& pool) {
  for_each_block(out, values, pool, [&](int64_t group, int64_t lane, const float* const* channels, int64_t pixels) {
    kernel.quantize(channels, out.group(group) + lane * 4, pixels, params);
  });
}

void dequantize(const QuantizeKernel& kernel, const Planes& in, float* values, const QuantizeParams& params, ThreadPool& pool) {
  for_each_block(in, values, pool, [&](int64_t group, int64_t lane, float* const* channels, int64_t pixels) {
    kernel.dequantize(in.group(group) + lane * 4, channels, pixels, params);
  });
}

}  // namespace niwaki
