#include "kernels/depthwise/depthwise.h"

#include <algorithm>
#include <cstring>

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {
namespace {

constexpr int64_t kRowPixels = 64;  // of a layer without neighbours: whole vectors of any instruction set

// For each output, the one at the pixel of its own.
bool has_one_tap(const DepthwiseParams& p) {
  return p.kernel_h == 1 && p.kernel_w == 1 && p.stride_h == 1 && p.stride_w == 1 && p.pad_top == 0 && p.pad_left == 0;
}

}  // namespace

#define NIWAKI_DEPTHWISE(name, isa, flip)                                               \
  namespace depthwise_##name {                                                          \
    int64_t packed_bytes(int32_t kernel_h, int32_t kernel_w);                           \
    void pack(const int8_t* weights, int32_t kernel_h, int32_t kernel_w, void* packed); \
    void run(const DepthwiseGroup& group, const DepthwiseParams& params);               \
  }
#include "kernels/depthwise/kernels.inc"
#undef NIWAKI_DEPTHWISE

std::span<const DepthwiseKernel> depthwise_kernels() {
  static constexpr DepthwiseKernel rows[] = {
#define NIWAKI_DEPTHWISE(name, isa, flip) \
  {#name, isa, flip, depthwise_##name::packed_bytes, depthwise_##name::pack, depthwise_##name::run},
#include "kernels/depthwise/kernels.inc"
#undef NIWAKI_DEPTHWISE
  };
  return rows;
}

const DepthwiseKernel& select_depthwise(Isa isa) { return select_kernel(depthwise_kernels(), isa); }

DepthwiseWeights pack_depthwise(const DepthwiseKernel& kernel, const int8_t* weight, const int32_t* bias, const float* multiplier,
                                int32_t channels, const DepthwiseParams& params) {
  const int64_t groups = div_up(channels, 4), taps = int64_t{1} * params.kernel_h * params.kernel_w;
  const int64_t group_bytes = kernel.packed_bytes(params.kernel_h, params.kernel_w);
  DepthwiseWeights packed;
  packed.kernel = &kernel;
  packed.weights = Buffer(static_cast<std::size_t>(groups * group_bytes));
  packed.bias = Buffer(static_cast<std::size_t>(groups * 16));
  packed.multiplier = Buffer(static_cast<std::size_t>(groups * 16));
  std::memset(packed.weights.data(), 0, packed.weights.size());
  std::memset(packed.bias.data(), 0, packed.bias.size());
  std::memset(packed.multiplier.data(), 0, packed.multiplier.size());

  Buffer four(static_cast<std::size_t>(4 * taps));
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t present = std::min<int64_t>(4, channels - group * 4);
    std::memset(four.data(), 0, four.size());
    std::memcpy(four.data(), weight + group * 4 * taps, static_cast<std::size_t>(present * taps));
    kernel.pack(four.as<int8_t>(), params.kernel_h, params.kernel_w, packed.weights.data() + group * group_bytes);
    for (int64_t c = group * 4; c < group * 4 + present; ++c) {
      // sum w (q - zero) = sum w (q - flip) + (flip - zero) sum w. In 32 bits that wrap around: it is the total that must fit.
      uint32_t sum = 0;
      for (int64_t tap = 0; tap < taps; ++tap) sum += static_cast<uint32_t>(static_cast<int32_t>(weight[c * taps + tap]));
      packed.bias.as<int32_t>()[c] =
          static_cast<int32_t>(static_cast<uint32_t>(bias[c]) + static_cast<uint32_t>(kernel.flip - params.in_zero) * sum);
      packed.multiplier.as<float>()[c] = multiplier[c];
    }
  }
  return packed;
}

void depthwise(const DepthwiseWeights& weights, const Planes& in, const Planes& out, const DepthwiseParams& params,
               const AfterFrom& after, ThreadPool& pool) {
  if (out.pixels() == 0) return;
  // Without neighbours, the pixels of all images are one long row, of which tasks take vectors.
  const bool pointwise = has_one_tap(params) && in.height == out.height && in.width == out.width;
  const int64_t rows = pointwise ? div_up(out.pixels(), kRowPixels) : int64_t{1} * out.images * out.height;
  const int64_t row_bytes = 4 * (pointwise ? kRowPixels : int64_t{out.width});
  const int64_t group_bytes = weights.kernel->packed_bytes(params.kernel_h, params.kernel_w);
  for_each_part(rows, out.groups(), row_bytes, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    for (int64_t index = first; index < last; ++index) {
      DepthwiseGroup group;
      group.in = in.group(index);
      group.out = out.group(index);
      group.weights = weights.weights.data() + index * group_bytes;
      group.bias = weights.bias.as<int32_t>() + index * 4;
      group.multiplier = weights.multiplier.as<float>() + index * 4;
      group.images = out.images;
      group.in_height = in.height;
      group.in_width = in.width;
      group.out_height = out.height;
      group.out_width = out.width;
      group.row_begin = begin;
      group.row_end = end;
      group.readable = int64_t{4} * in.width + kOverread;
      group.pointwise = pointwise;
      if (pointwise) {
        group.in += begin * row_bytes;
        group.out += begin * row_bytes;
        group.images = group.in_height = group.out_height = 1;
        group.in_width = group.out_width =
            static_cast<int32_t>(std::min(end * kRowPixels, int64_t{out.pixels()}) - begin * kRowPixels);
        group.row_begin = 0;
        group.row_end = 1;
      }
      weights.kernel->run(group, params);
      const int64_t pixels = row_bytes / 4;
      after(out, index * 4, 4, begin * pixels, (end - begin) * pixels);
    }
  });
}

}  // namespace niwaki
