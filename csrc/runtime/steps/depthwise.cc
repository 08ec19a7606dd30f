// Depthwise convolution with a uint8 output and no residual; the rest of them goes the way of grouped convolutions.
#include <utility>

#include "graph/fused_parts.h"
#include "kernels/depthwise/depthwise.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

class DepthwiseStep : public Step {
 public:
  DepthwiseStep(DepthwiseWeights weights, const DepthwiseParams& params, std::unique_ptr<After> after)
      : weights_(std::move(weights)), params_(params), after_(std::move(after)) {
    info.kernel = std::string("depthwise_") + weights_.kernel->name;
    info.bytes = weights_.bytes() + (after_ ? after_->bytes() : 0);
    info.reason = "groups = channels";
    if (after_) info.reason += "; writes through " + std::string(after_->kernel());
  }
  void run(const StepCall& call) const override {
    DepthwiseParams params = params_;
    params.pad_top = narrow(integer_of(call.attributes, "padding", 0));
    params.pad_left = narrow(integer_of(call.attributes, "padding", 1));
    depthwise(weights_, call.in[0].planes, call.out[0].planes, params, {after_.get()}, call.pool);
  }

 private:
  DepthwiseWeights weights_;
  DepthwiseParams params_;        // but for the padding, which may follow from the sizes
  std::unique_ptr<After> after_;  // may be null
};

}  // namespace

std::unique_ptr<Step> make_depthwise(const StepMaker& maker) {
  const Graph& graph = maker.graph;
  const Node& node = maker.node;
  const Tensor weight = node.tensor("weight").unpacked();
  const auto stride = node.integers("stride"), dilation = node.integers("dilation");
  DepthwiseParams p{};
  p.kernel_h = narrow(weight.shape()[2]), p.kernel_w = narrow(weight.shape()[3]);
  p.stride_h = narrow(stride[0]), p.stride_w = narrow(stride[1]);
  p.dilation_h = narrow(dilation[0]), p.dilation_w = narrow(dilation[1]);
  p.in_zero = quantization(graph, node.inputs[0]).zero_point;
  p.out_zero = sums_quantization(graph, node)->zero_point;
  p.low = narrow(node.integer("low")), p.high = narrow(node.integer("high"));
  const std::vector<float> multiplier = multipliers(graph, node);
  auto step = std::make_unique<DepthwiseStep>(
      pack_depthwise(select_depthwise(maker.isa), weight.as<int8_t>(), node.tensor("bias").as<int32_t>(), multiplier.data(),
                     narrow(weight.shape()[0]), p),
      p, make_after(maker));
  step->info.zeros = weight.zeros();
  return step;
}

}  // namespace niwaki
