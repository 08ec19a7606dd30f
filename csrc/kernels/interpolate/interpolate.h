// Images of float32 at another size, over one to three axes. The places that are read are those of torch 2.13, found in float32 as it
// finds them. Values are blended along the width, then the height, then the depth; each time the taps are added in their order, so all
// instruction sets give the same bits.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/common/window_rows.h"
#include "kernels/interpolate/params.h"

namespace niwaki {

struct InterpolateKernel {
  const char* name;
  Isa isa;
  void (*gather_row)(const GatherRow&);
  void (*blend_rows)(const BlendRows&);
};

std::span<const InterpolateKernel> interpolate_kernels();
const InterpolateKernel& select_interpolate(Isa isa);

enum class Interpolation : uint8_t { nearest, nearest_exact, linear, cubic };

struct InterpolateParams {
  Interpolation mode;
  int spatial;  // axes that are interpolated, 1 to 3: the last ones
  bool align_corners;
  std::array<double, 3> scales;  // output size over input size as it was asked for; 0: as it is
  Axes3 in, out;
};

inline constexpr int64_t kMostTaps = 4;

// Where the outputs along one axis come from.
struct AxisTaps {
  int64_t taps, outputs;
  std::vector<int32_t> indices;  // [taps][outputs]
  std::vector<float> weights;

  int64_t index(int64_t tap, int64_t output) const { return indices[static_cast<std::size_t>(tap * outputs + output)]; }
  std::array<float, kMostTaps> weights_of(int64_t output) const {
    std::array<float, kMostTaps> of{};
    for (int64_t t = 0; t < taps; ++t) of[static_cast<std::size_t>(t)] = weights[static_cast<std::size_t>(t * outputs + output)];
    return of;
  }
};

int64_t interpolation_taps_of(Interpolation mode);  // along each axis that is interpolated

// Where outputs come from along each axis. An axis that is not there has one element, which is taken as it is. Indices do not fall.
std::array<AxisTaps, 3> interpolation_taps(const InterpolateParams& params);

// The tables of an interpolation.
class Interpolator {
 public:
  explicit Interpolator(const InterpolateParams& params);

  int64_t table_bytes() const;
  static int64_t scratch_bytes(const InterpolateParams& params);  // for each thread

  // in: [planes, in]; out: [planes, out]. Thread t works in scratch + t * scratch_step, 64-byte aligned.
  void run(const InterpolateKernel& kernel, const float* in, float* out, int64_t planes, uint8_t* scratch, int64_t scratch_step,
           ThreadPool& pool) const;

 private:
  static constexpr std::size_t kMostRows = kMostTaps * kMostTaps;
  class WideRows;
  // Rows [begin, end) of the outputs of all planes.
  void copy_rows(const float* in, float* out, int64_t begin, int64_t end) const;
  void blend_rows(const InterpolateKernel& kernel, const float* in, float* out, int64_t begin, int64_t end,
                  uint8_t* scratch) const;

  InterpolateParams params_;
  std::array<AxisTaps, 3> axes_;
};

}  // namespace niwaki
