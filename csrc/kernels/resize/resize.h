// Quantized images, or rows, at another size. Where outputs lie, and which inputs they are made of, is what interpolate.h says; the weights
// are rounded to whole numbers of 2^-14 that add up to 1, and all sums are those of integers: every instruction set gives the same bytes.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/interpolate/interpolate.h"
#include "kernels/layout.h"
#include "kernels/resize/params.h"

namespace niwaki {

struct ResizeKernel {
  const char* name;
  Isa isa;
  void (*columns)(const ResizeColumns&);
  void (*rows)(const ResizeRows&);
  void (*take)(const ResizeTake&);
};

std::span<const ResizeKernel> resize_kernels();
const ResizeKernel& select_resize(Isa isa);

// The weights of `outputs` outputs, for each pair of taps: [taps / 2][outputs].
std::vector<int32_t> weight_pairs(const AxisTaps& taps);

struct ResizeScales {
  float scale;  // of the input over that of the output
  int32_t in_zero, out_zero;
};

// The tables of a resizing of one or two axes.
class Resizer {
 public:
  explicit Resizer(const InterpolateParams& params);

  int64_t table_bytes() const;
  static int64_t scratch_bytes(const InterpolateParams& params);  // for each thread

  // Of nearest pixels, which are taken as they are, scales mean nothing. Thread t works in scratch + t * scratch_step, 64-byte aligned.
  void run(const ResizeKernel& kernel, const Planes& in, const Planes& out, const ResizeScales& scales, uint8_t* scratch,
           int64_t scratch_step, ThreadPool& pool) const;

 private:
  // A group of four channels; its rows of outputs of all images are counted through.
  struct Group {
    const uint8_t* in;
    uint8_t* out;
  };
  void take_rows(const ResizeKernel& kernel, const Group& group, int64_t begin, int64_t end) const;
  void blend_rows(const ResizeKernel& kernel, const Group& group, int64_t begin, int64_t end, const ResizeScales& scales,
                  uint8_t* scratch) const;
  int64_t row_from(int64_t tap, int64_t row) const;  // the row of the inputs that a tap of a row of outputs reads

  int64_t in_height_, in_width_;
  AxisTaps high_, wide_;
  std::vector<int32_t> high_weights_, wide_weights_;  // see weight_pairs
};

}  // namespace niwaki
