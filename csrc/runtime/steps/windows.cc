// Windows over float32 values: convolutions, pools, interpolation, grid_sample; and the resizing of uint8 ones.
#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "graph/operators.h"
#include "kernels/convolution/convolution.h"
#include "kernels/float_pool/float_pool.h"
#include "kernels/grid_sample/grid_sample.h"
#include "kernels/interpolate/interpolate.h"
#include "kernels/resize/resize.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

// The last `axes` of three: those in front of them have one element.
Axes3 last_axes(std::span<const int64_t> sizes) {
  Axes3 axes = {1, 1, 1};
  std::copy(sizes.begin(), sizes.end(), axes.end() - static_cast<std::ptrdiff_t>(sizes.size()));
  return axes;
}
Axes3 spatial_axes(const Array& array) { return last_axes(std::span(array.dims).subspan(2)); }
Axes3 axes_of(const Attributes& attributes, const char* name) { return last_axes(integers(attributes, name)); }

// Every second number of [before_0, after_0, before_1, ...], from number `first` on; 0 for axes that are not there.
Axes3 paddings(const Attributes& attributes, std::size_t first) {
  const std::vector<int64_t> pairs = integers(attributes, "padding");
  Axes3 axes = {0, 0, 0};
  for (std::size_t i = 0; i < pairs.size() / 2; ++i) axes[3 - pairs.size() / 2 + i] = pairs[2 * i + first];
  return axes;
}

int64_t plane_count(const Array& array) { return array.dims[0] * array.dims[1]; }

class WindowStep : public Step {
 public:
  explicit WindowStep(const std::string& kernel) {
    info.scheme = "float32";
    info.kernel = kernel;
  }
};

// ---- convolution ----

struct ConvolutionSetup : StepSetup {
  explicit ConvolutionSetup(ConvolutionPlan made) : plan(std::move(made)) {}
  ConvolutionPlan plan;
};

class ConvolutionStep : public WindowStep {
 public:
  explicit ConvolutionStep(ConvolutionWeights weights)
      : WindowStep(std::string("convolution_") + weights.kernel->name), weights_(std::move(weights)) {
    info.bytes = weights_.bytes();
    if (weights_.depthwise) info.reason = "each output channel sees one input channel";
  }

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override {
    return std::make_unique<ConvolutionSetup>(plan(sizes));
  }
  int64_t scratch_bytes(const StepSizes& sizes) const override { return plan(sizes).scratch_bytes(); }
  void run(const StepCall& call) const override {
    static_cast<const ConvolutionSetup*>(call.setup)
        ->plan.run(call.in[0].as<float>(), call.out[0].as<float>(), call.scratch, call.scratch_bytes, call.pool);
  }

 private:
  ConvolutionPlan plan(const StepSizes& s) const {
    const ConvolutionSizes sizes{s.in[0].dims[0], spatial_axes(s.in[0]), spatial_axes(s.out[0]), paddings(s.attributes, 0)};
    return ConvolutionPlan(weights_, sizes, s.threads);
  }
  ConvolutionWeights weights_;
};

std::unique_ptr<Step> make_convolution(const StepMaker& maker) {
  const Node& node = maker.node;
  const Tensor weight = node.tensor("weight").unpacked();
  const Tensor* bias = node.find_tensor("bias");
  const bool transposed = node.integer("transposed") != 0;
  const int64_t groups = node.integer("groups"), first = weight.shape()[0], second = weight.shape()[1] * groups;
  const ConvolutionParams params{.in_channels = transposed ? first : second,
                                 .out_channels = transposed ? second : first,
                                 .groups = groups,
                                 .kernel = last_axes(std::span(weight.shape()).subspan(2)),
                                 .stride = axes_of(node.attributes, "stride"),
                                 .dilation = axes_of(node.attributes, "dilation"),
                                 .transposed = transposed};
  auto step = std::make_unique<ConvolutionStep>(
      pack_convolution(select_convolution(maker.isa), weight.as<float>(), bias ? bias->as<float>() : nullptr, params));
  step->info.zeros = weight.zeros();
  return step;
}

// ---- pools ----

PoolFunction function_of(const Node& node) { return node.word("function") == "max" ? PoolFunction::max : PoolFunction::average; }

struct PoolSetup : StepSetup {
  explicit PoolSetup(FloatPool made) : pool(std::move(made)) {}
  FloatPool pool;
};

class PoolStep : public WindowStep {
 public:
  PoolStep(const FloatPoolKernel& kernel, const Node& node)
      : WindowStep(std::string("float_pool_") + kernel.name), kernel_(kernel), function_(function_of(node)) {}

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override { return std::make_unique<PoolSetup>(pool(sizes)); }
  int64_t scratch_bytes(const StepSizes& sizes) const override { return pool(sizes).scratch_bytes(); }
  void run(const StepCall& call) const override {
    static_cast<const PoolSetup*>(call.setup)
        ->pool.run(kernel_, call.in[0].as<float>(), call.out[0].as<float>(), plane_count(call.in[0]), call.scratch,
                   call.scratch_bytes, call.pool);
  }

 private:
  FloatPool pool(const StepSizes& s) const {
    const WindowAxes axes{.in = spatial_axes(s.in[0]),
                          .out = spatial_axes(s.out[0]),
                          .kernel = axes_of(s.attributes, "kernel"),
                          .stride = axes_of(s.attributes, "stride"),
                          .dilation = axes_of(s.attributes, "dilation"),
                          .before = paddings(s.attributes, 0)};
    return FloatPool({.function = function_,
                      .axes = axes,
                      .behind = paddings(s.attributes, 1),
                      .count_include_pad = integer(s.attributes, "count_include_pad") != 0,
                      .divisor = integer(s.attributes, "divisor")});
  }
  const FloatPoolKernel& kernel_;
  PoolFunction function_;
};

class AdaptivePoolStep : public WindowStep {
 public:
  AdaptivePoolStep(const FloatPoolKernel& kernel, const Node& node)
      : WindowStep(std::string("float_pool_") + kernel.name), kernel_(kernel), function_(function_of(node)) {}

  void run(const StepCall& call) const override {
    const Array &in = call.in[0], &out = call.out[0];
    float_adaptive_pool(kernel_, function_, in.as<float>(), out.as<float>(), plane_count(in), spatial_axes(in), spatial_axes(out),
                        call.pool);
  }

 private:
  const FloatPoolKernel& kernel_;
  PoolFunction function_;
};

// ---- interpolate, resize ----

// The same for both.
class Resizing {
 public:
  explicit Resizing(const Node& node) {
    const std::string& word = node.word("mode");
    mode_ = word == "nearest"         ? Interpolation::nearest
            : word == "nearest-exact" ? Interpolation::nearest_exact
            : word == "linear"        ? Interpolation::linear
                                      : Interpolation::cubic;
  }
  InterpolateParams operator()(const StepSizes& s) const {
    const std::vector<double>& scales = numbers(s.attributes, "scales");
    InterpolateParams params{.mode = mode_,
                             .spatial = static_cast<int>(s.in[0].dims.size()) - 2,
                             .align_corners = integer(s.attributes, "align_corners") != 0,
                             .scales = {0.0, 0.0, 0.0},
                             .in = spatial_axes(s.in[0]),
                             .out = spatial_axes(s.out[0])};
    std::copy(scales.begin(), scales.end(), params.scales.end() - static_cast<std::ptrdiff_t>(scales.size()));
    return params;
  }

 private:
  Interpolation mode_;
};

template <typename Tables>
struct ResizingSetup : StepSetup {
  explicit ResizingSetup(const InterpolateParams& params) : tables(params) {}
  int64_t bytes() const override { return tables.table_bytes(); }
  Tables tables;
};

class InterpolateStep : public WindowStep {
 public:
  InterpolateStep(const InterpolateKernel& kernel, const Node& node)
      : WindowStep(std::string("interpolate_") + kernel.name), kernel_(kernel), params_(node) {}

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override {
    return std::make_unique<ResizingSetup<Interpolator>>(params_(sizes));
  }
  int64_t scratch_bytes(const StepSizes& sizes) const override { return Interpolator::scratch_bytes(params_(sizes)); }
  void run(const StepCall& call) const override {
    static_cast<const ResizingSetup<Interpolator>*>(call.setup)
        ->tables.run(kernel_, call.in[0].as<float>(), call.out[0].as<float>(), plane_count(call.in[0]), call.scratch,
                     call.scratch_bytes, call.pool);
  }

 private:
  const InterpolateKernel& kernel_;
  Resizing params_;
};

class ResizeStep : public Step {
 public:
  ResizeStep(const ResizeKernel& kernel, const StepMaker& maker) : kernel_(kernel), params_(maker.node) {
    const Quantization &in = quantization(maker.graph, maker.node.inputs[0]),
                       &out = quantization(maker.graph, maker.node.outputs[0]);
    scales_ = {in.scale / out.scale, in.zero_point, out.zero_point};
    info.kernel = std::string("resize_") + kernel.name;
  }

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override {
    return std::make_unique<ResizingSetup<Resizer>>(params_(sizes));
  }
  int64_t scratch_bytes(const StepSizes& sizes) const override { return Resizer::scratch_bytes(params_(sizes)); }
  void run(const StepCall& call) const override {
    static_cast<const ResizingSetup<Resizer>*>(call.setup)
        ->tables.run(kernel_, call.in[0].planes, call.out[0].planes, scales_, call.scratch, call.scratch_bytes, call.pool);
  }

 private:
  const ResizeKernel& kernel_;
  Resizing params_;
  ResizeScales scales_;
};

// ---- grid_sample ----

class GridSampleStep : public WindowStep {
 public:
  GridSampleStep(const GridSampleKernel& kernel, const Node& node)
      : WindowStep(std::string("grid_sample_") + kernel.name), kernel_(kernel), where_(describe(node)) {
    const std::string &mode = node.word("mode"), &padding = node.word("padding_mode");
    mode_ = mode == "bilinear" ? SampleMode::bilinear : mode == "nearest" ? SampleMode::nearest : SampleMode::bicubic;
    padding_ = padding == "zeros"    ? SamplePadding::zeros
               : padding == "border" ? SamplePadding::border
                                     : SamplePadding::reflection;
    align_corners_ = node.integer("align_corners") != 0;
  }

  void run(const StepCall& call) const override {
    const Sizes &in = call.in[0].dims, &out = call.out[0].dims;
    if (in[2] * in[3] > INT32_MAX)
      throw Error(Status::invalid_argument, where_ + ": an image of " + std::to_string(in[2]) + " x " + std::to_string(in[3]) +
                                                " pixels is too large; 2^31 - 1 is the most.");
    grid_sample(kernel_, call.in[0].as<float>(), call.in[1].as<float>(), call.out[0].as<float>(),
                {.mode = mode_,
                 .padding = padding_,
                 .align_corners = align_corners_,
                 .images = in[0],
                 .channels = in[1],
                 .height = in[2],
                 .width = in[3],
                 .out_pixels = out[2] * out[3]},
                call.pool);
  }

 private:
  const GridSampleKernel& kernel_;
  std::string where_;
  SampleMode mode_;
  SamplePadding padding_;
  bool align_corners_;
};

}  // namespace

std::unique_ptr<Step> make_windows(const StepMaker& maker) {
  const Node& node = maker.node;
  switch (node.op) {
    case Op::convolution: return make_convolution(maker);
    case Op::pool: return std::make_unique<PoolStep>(select_float_pool(maker.isa), node);
    case Op::adaptive_pool: return std::make_unique<AdaptivePoolStep>(select_float_pool(maker.isa), node);
    case Op::interpolate: return std::make_unique<InterpolateStep>(select_interpolate(maker.isa), node);
    case Op::resize: return std::make_unique<ResizeStep>(select_resize(maker.isa), maker);
    case Op::grid_sample: return std::make_unique<GridSampleStep>(select_grid_sample(maker.isa), node);
    default: throw Error(Status::internal, describe(node) + ": not an operator of windows.");
  }
}

}  // namespace niwaki
