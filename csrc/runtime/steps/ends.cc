// The two ends of a network: quantize and dequantize.
#include "kernels/quantize/quantize.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

class QuantizeStep : public Step {
 public:
  QuantizeStep(const QuantizeKernel& kernel, const QuantizeParams& params) : kernel_(kernel), params_(params) {
    info.kernel = std::string("quantize_") + kernel.name;
  }
  void run(const StepCall& call) const override { quantize(kernel_, call.in_float, call.out, params_, call.pool); }

 private:
  const QuantizeKernel& kernel_;
  QuantizeParams params_;
};

// The four phases of an image: see graph/phases.h.
class QuantizePhasesStep : public Step {
 public:
  QuantizePhasesStep(const QuantizeKernel& kernel, const std::vector<int64_t>& order, const QuantizeParams& params)
      : kernel_(kernel), order_(order), params_(params) {
    info.kernel = kernel.name;
  }
  void run(const StepCall& call) const override {
    quantize_phases(kernel_, call.in_float, call.in[0].height, call.in[0].width, call.out, order_, params_, call.pool);
  }

 private:
  const QuantizeKernel& kernel_;
  std::vector<int64_t> order_;
  QuantizeParams params_;
};

class DequantizeStep : public Step {
 public:
  DequantizeStep(const QuantizeKernel& kernel, const QuantizeParams& params) : kernel_(kernel), params_(params) {
    info.kernel = std::string("dequantize_") + kernel.name;
  }
  void run(const StepCall& call) const override { dequantize(kernel_, call.in[0], call.out_float, params_, call.pool); }

 private:
  const QuantizeKernel& kernel_;
  QuantizeParams params_;
};

}  // namespace

std::unique_ptr<Step> make_end(const Graph& graph, const Node& node, Isa isa) {
  const Quantization& q = quantization(graph, node.op == Op::quantize ? node.output : node.inputs[0]);
  const QuantizeParams params{1.0f / q.scale, q.scale, q.zero_point};
  if (node.attributes.contains("phases"))
    return std::make_unique<QuantizePhasesStep>(select_quantize(isa), node.integers("phases"), params);
  if (node.op == Op::quantize) return std::make_unique<QuantizeStep>(select_quantize(isa), params);
  return std::make_unique<DequantizeStep>(select_quantize(isa), params);
}

}  // namespace niwaki
