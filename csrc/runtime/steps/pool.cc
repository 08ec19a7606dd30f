// Max, average and adaptive average pooling of uint8 images.
#include "kernels/pool/pool.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

using Run = void (*)(const PoolKernel&, const Planes&, const Planes&, const PoolParams&, ThreadPool&);

class PoolStep : public Step {
 public:
  PoolStep(const PoolKernel& kernel, Run run, const PoolParams& params) : kernel_(kernel), run_(run), params_(params) {
    info.kernel = std::string("pool_") + kernel.name;
  }
  void run(const StepCall& call) const override { run_(kernel_, call.in[0].planes, call.out[0].planes, params_, call.pool); }

 private:
  const PoolKernel& kernel_;
  Run run_;
  PoolParams params_;
};

}  // namespace

std::unique_ptr<Step> make_pool_u8(const StepMaker& maker) {
  const Node& node = maker.node;
  const Quantization &in = quantization(maker.graph, node.inputs[0]), &out = quantization(maker.graph, node.outputs[0]);
  PoolParams p{};
  p.dilation_h = p.dilation_w = 1;
  p.in_zero = in.zero_point, p.out_zero = out.zero_point;
  p.scale = in.scale / out.scale;
  p.low = 0, p.high = 255;
  Run run = adaptive_avg_pool2d;
  if (node.op != Op::adaptive_avg_pool2d) {
    run = node.op == Op::max_pool2d ? max_pool2d : avg_pool2d;
    const auto kernel = node.integers("kernel"), stride = node.integers("stride"), padding = node.integers("padding");
    p.kernel_h = narrow(kernel[0]), p.kernel_w = narrow(kernel[1]);
    p.stride_h = narrow(stride[0]), p.stride_w = narrow(stride[1]);
    p.pad_top = narrow(padding[0]), p.pad_left = narrow(padding[1]), p.pad_bottom = narrow(padding[2]),
    p.pad_right = narrow(padding[3]);
  }
  if (node.op == Op::max_pool2d) {
    p.dilation_h = narrow(node.integers("dilation")[0]), p.dilation_w = narrow(node.integers("dilation")[1]);
  } else {
    p.low = narrow(node.integer("low")), p.high = narrow(node.integer("high"));
  }
  if (node.op == Op::avg_pool2d) {
    p.count_include_pad = node.integer("count_include_pad") != 0;
    p.divisor = narrow(node.integer("divisor"));
  }
  return std::make_unique<PoolStep>(select_pool(maker.isa), run, p);
}

}  // namespace niwaki
