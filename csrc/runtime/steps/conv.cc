// Convolution and linear layers, with the residual that was fused into them.
#include <algorithm>
#include <cmath>
#include <utility>

#include "graph/phases.h"
#include "runtime/layout.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

ConvParams conv_params(const Graph& graph, const Node& node) {
  const auto& shape = node.tensor("weight").shape();
  const auto& out = graph.value(node.outputs[0]).quantization;
  ConvParams p{};
  p.out_channels = narrow(shape[0]);
  p.kernel_h = p.kernel_w = p.stride_h = p.stride_w = p.dilation_h = p.dilation_w = p.groups = 1;
  p.linear = node.op == Op::linear;
  if (node.op == Op::conv2d) {
    p.groups = narrow(node.integer("groups"));
    p.kernel_h = narrow(shape[2]), p.kernel_w = narrow(shape[3]);
    p.stride_h = narrow(node.integers("stride")[0]), p.stride_w = narrow(node.integers("stride")[1]);
    p.dilation_h = narrow(node.integers("dilation")[0]), p.dilation_w = narrow(node.integers("dilation")[1]);
    const Dims& padding = node.dims("padding");
    p.padded = padding[0] != Dim(0) || padding[1] != Dim(0);
  }
  p.in_channels = narrow(shape[1] * p.groups);
  p.in_zero = quantization(graph, node.inputs[0]).zero_point;
  p.low = narrow(node.integer("low")), p.high = narrow(node.integer("high"));
  p.float_output = !out.has_value();
  if (out) p.out_zero = out->zero_point;
  p.has_residual = has_residual(node);
  if (p.has_residual) {
    p.residual_zero = quantization(graph, node.inputs[1]).zero_point;
    p.residual_scale = quantization(graph, node.inputs[1]).scale / out->scale;
  }
  return p;
}

// All pixels of all images as one row: what a linear layer reads and writes.
Planes as_row(Planes planes) {
  planes.width = static_cast<int32_t>(planes.pixels());
  planes.images = planes.height = 1;
  return planes;
}

class ConvStep : public Step {
 public:
  explicit ConvStep(std::unique_ptr<PackedConv> packed, bool linear) : packed_(std::move(packed)), linear_(linear) {
    info.scheme = packed_->sparse() ? "sparse int8" : "int8";
    info.kernel = packed_->kernel();
    info.bytes = packed_->bytes();
    info.reason = packed_->reason();
  }

  int64_t scratch_bytes(const StepSizes& sizes) const override {
    return packed_->scratch_bytes(input(sizes.in[0]), output(sizes.out[0]));
  }
  bool may_overwrite(size_t input) const override { return input == 1; }

  void share_weights(Step& other) override {
    if (auto* conv = dynamic_cast<ConvStep*>(&other)) packed_->share_weights(*conv->packed_);
  }

  void run(const StepCall& call) const override {
    const Array& out = call.out[0];
    const Planes planes = output(out);
    Planes residual = planes;
    residual.data = nullptr;
    if (call.in.size() > 1 && call.in[1].given) residual = input(call.in[1]);
    packed_->run(input(call.in[0]), padding(call), planes, out.grouped() ? nullptr : out.as<float>(), residual, call.scratch,
                 call.pool);
  }

 private:
  Planes input(const Array& in) const { return linear_ ? as_row(in.planes) : in.planes; }
  ConvPadding padding(const StepCall& call) const {
    if (linear_) return {};
    return {narrow(integer_of(call.attributes, "padding", 0)), narrow(integer_of(call.attributes, "padding", 1))};
  }
  // Of a float32 output, which is not grouped: how it would be.
  Planes output(const Array& out) const {
    const Planes planes = out.grouped() ? out.planes : planes_of(out.dims, linear_ ? static_cast<int>(out.dims.size()) - 1 : 1);
    return linear_ ? as_row(planes) : planes;
  }

  std::unique_ptr<PackedConv> packed_;
  bool linear_;
};

}  // namespace

std::vector<float> multipliers(const Graph& graph, const Node& node) {
  const float in = quantization(graph, node.inputs[0]).scale;
  const auto& out = graph.value(node.outputs[0]).quantization;
  const Tensor& scale = node.tensor("weight_scale");
  std::vector<float> result(static_cast<size_t>(scale.elements()));
  for (size_t o = 0; o < result.size(); ++o) {
    const float product = in * scale.as<float>()[o];
    result[o] = out ? product / out->scale : product;
  }
  return result;
}

std::unique_ptr<Step> make_conv(const StepMaker& maker) {
  const Node& node = maker.node;
  const Tensor weight = node.tensor("weight").unpacked();
  ConvParams params = conv_params(maker.graph, node);
  params.expected_pixels = maker.expected_pixels;
  const std::vector<float> multiplier = multipliers(maker.graph, node);
  const ConvWeights weights{weight.as<int8_t>(), node.tensor("bias").as<int32_t>(), multiplier.data()};
  auto step = std::make_unique<ConvStep>(pack_conv(params, weights, maker.isa, maker.kind), params.linear);
  const double kept = (1.0 - weight.zeros()) * static_cast<double>(weight.elements());
  step->info.zeros = std::max(0.0, 1.0 - std::round(kept) / static_cast<double>(original_weights(node)));
  return step;
}

}  // namespace niwaki
