// Convolutions of float32, over one to three axes, plain and transposed.
//
// Each output is one sum in a fixed order, so all instruction sets give the same bits. It begins as the bias (or 0); then come the input
// channels of the group and, in each of them, the taps in row-major order: sum = fma(weight, x, sum), rounded once.
// Outside of the image x is 0. A transposed convolution leaves out the taps that fall between its pixels.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/arch.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/common/window_rows.h"
#include "kernels/convolution/panel.h"
#include "kernels/convolution/params.h"

namespace niwaki {

struct ConvolutionKernel {
  const char* name;
  Isa isa;
  void (*multiply)(const PanelProduct&);
  void (*multiply_taps)(const TapProduct&);
};

std::span<const ConvolutionKernel> convolution_kernels();
const ConvolutionKernel& select_convolution(Isa isa);

struct ConvolutionParams {
  int64_t in_channels, out_channels, groups;
  Axes3 kernel, stride, dilation;  // of fewer axes: ones in front
  bool transposed;
};

// The taps of all outputs whose place leaves the same rest when it is divided by the stride. A plain convolution has one phase, with all
// taps.
struct ConvolutionPhase {
  Axes3 rest;
  std::vector<Axes3> taps;  // places in the kernel
  int64_t weights;          // where they begin, in floats
  int64_t block_floats;     // from one block of output channels to the next
};

struct ConvolutionWeights {
  const ConvolutionKernel* kernel;
  ConvolutionParams params;
  bool depthwise;  // each group has one input channel, and it is not transposed
  bool gaps;       // some outputs have no taps: they are the bias
  int64_t width;   // channels of a block
  std::vector<ConvolutionPhase> phases;
  Buffer weights;  // [phase][group][block][input channel][tap][width]; depthwise: [output channel][tap]
  Buffer bias;     // of each output channel

  int64_t in_group() const { return params.in_channels / params.groups; }
  int64_t out_group() const { return params.out_channels / params.groups; }
  int64_t bytes() const { return static_cast<int64_t>(weights.size() + bias.size()); }
};

// weight: [out_channels, in_channels / groups, kernel], or, transposed, [in_channels, out_channels / groups, kernel]; bias: of each output
// channel, or null.
ConvolutionWeights pack_convolution(const ConvolutionKernel& kernel, const float* weight, const float* bias,
                                    const ConvolutionParams& params);

struct ConvolutionSizes {
  int64_t images;
  Axes3 in, out;
  Axes3 before;  // padding in front of each axis, which may be negative; `out` says how much is behind
};

// A convolution at given sizes.
class ConvolutionPlan {
 public:
  // `weights` must outlive it. threads: how many the work is cut for.
  ConvolutionPlan(const ConvolutionWeights& weights, const ConvolutionSizes& sizes, int threads);

  int64_t scratch_bytes() const;  // for each thread

  // in: [images, in_channels, in]; out: [images, out_channels, out]. Thread t works in scratch + t * scratch_step, 64-byte aligned.
  void run(const float* in, float* out, uint8_t* scratch, int64_t scratch_step, ThreadPool& pool) const;

 private:
  // How the work on a phase is cut: its pixels into tiles and, where these are fewer than threads, the channels of a group into parts.
  struct PhasePlan {
    PhaseGrid grid;
    int64_t weights, block_floats;  // see ConvolutionPhase
    int64_t vectors = 0;            // of 16 pixels
    int64_t tiles = 0;
    int64_t tile_floats = 0;    // pixels of the largest tile, in whole vectors
    int64_t part_channels = 0;  // of whole blocks
    int64_t parts = 0;
    int64_t run_bytes = 0, tap_bytes = 0;  // of a tile's TileRuns and TapRuns
  };
  void cut(PhasePlan& phase, int threads) const;
  void run_phase(const PhasePlan& phase, const float* in, float* out, uint8_t* scratch, int64_t scratch_step,
                 ThreadPool& pool) const;
  void run_tile(const PhasePlan& phase, int64_t tile, int64_t group, int64_t first, int64_t last, const float* in, float* out,
                uint8_t* scratch) const;
  void run_depthwise(const float* in, float* out, uint8_t* scratch, int64_t scratch_step, ThreadPool& pool) const;
  void fill_with_bias(float* out, ThreadPool& pool) const;

  const ConvolutionWeights& weights_;
  ConvolutionSizes sizes_;
  std::vector<PhasePlan> phases_;
  std::optional<WindowRows> rows_;  // of a depthwise convolution, which has no phases
};

}  // namespace niwaki
