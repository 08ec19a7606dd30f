// Convolution and linear layers in int8, dense and block-sparse, with any kernel, stride, padding, dilation and groups.
// A linear layer is a 1 x 1 convolution on 1 x 1 images.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/arch.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/common/after.h"
#include "kernels/layout.h"

namespace niwaki {

struct ConvParams {
  int32_t in_channels, out_channels, groups;
  int32_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  bool padded;  // the window may begin above or left of the image
  int32_t in_zero, out_zero, low, high;
  bool float_output;  // multiplier is then input scale * weight scale, and low, high, out_zero and residual_* are not read
  bool has_residual;
  int32_t residual_zero;
  float residual_scale;  // residual's scale over output's scale
  bool linear =
      false;  // a linear layer: the kernel is 1 x 1, groups is 1; a float32 output is rows of channels, one for each pixel
  int64_t expected_pixels = 0;  // of one image of the output, where known: chooses between kernels, changes no result
};

// Rows above and columns left of an image that are zero points. What lies below and right is zero, too: the output's size says how far.
struct ConvPadding {
  int32_t top = 0, left = 0;
};

enum class ConvKind { automatic, dense, sparse };

struct ConvWeights {
  const int8_t* weight;     // [out_channels, in_channels / groups, kernel_h, kernel_w]
  const int32_t* bias;      // [out_channels], in units of input scale * weight scale
  const float* multiplier;  // [out_channels], (input scale * weight scale) / output scale
};

// One layer, packed for the kernel that was chosen for it. Immutable: sessions and threads share it.
class PackedConv {
 public:
  virtual ~PackedConv() = default;

  virtual const char* kernel() const = 0;  // the kernel's name, as in the rows of kernels.inc
  virtual bool sparse() const = 0;
  virtual std::string reason() const = 0;  // why this kernel: one line for net.plan
  virtual int64_t bytes() const = 0;       // packed weights and constants

  // Bytes of scratch that one thread of run() needs for an input and output of these shapes (data is not read): whole cache lines.
  virtual int64_t scratch_bytes(const Planes& in, const Planes& out) const = 0;

  // padding: all zero where params.padded is false.
  // out_float: float32 [images, out_channels, height, width] (of a linear layer [pixels, out_channels]) where float_output is set; `out`
  // then only gives the shape.
  // residual: same shape as out, or data == nullptr. scratch: pool.threads() * scratch_bytes, 64-byte aligned. out may be residual.
  // after: what becomes of the bytes of `out`; not where float_output is set.
  virtual void run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
                   const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const = 0;

  // What it holds without biases and multipliers, which follow from scales: weights in the order of its kernel.
  virtual std::vector<SharedBuffer*> weights() = 0;

  // Has its weights in common with a layer whose weights are the same, if they lie in the same way.
  void share_weights(PackedConv& other);
};

std::unique_ptr<PackedConv> pack_conv(const ConvParams& params, const ConvWeights& weights, Isa isa, ConvKind kind);

}  // namespace niwaki
