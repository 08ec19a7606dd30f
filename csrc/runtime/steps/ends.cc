// Between float32 and uint8: quantize and dequantize.
#include "kernels/quantize/quantize.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

class QuantizeStep : public Step {
 public:
  QuantizeStep(const QuantizeKernel& kernel, const QuantizeParams& params) : kernel_(kernel), params_(params) {
    info.kernel = std::string("quantize_") + kernel.name;
  }
  void run(const StepCall& call) const override {
    const Planes& out = call.out[0].planes;
    (out.height == 1 && out.width == 1 ? quantize_rows : quantize)(kernel_, call.in[0].as<float>(), out, params_, call.pool);
  }

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
    const Array& in = call.in[0];
    quantize_phases(kernel_, in.as<float>(), in.dims[2], in.dims[3], call.out[0].planes, order_, params_, call.pool);
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
  void run(const StepCall& call) const override {
    const Planes& in = call.in[0].planes;
    (in.height == 1 && in.width == 1 ? dequantize_rows : dequantize)(kernel_, in, call.out[0].as<float>(), params_, call.pool);
  }

 private:
  const QuantizeKernel& kernel_;
  QuantizeParams params_;
};

}  // namespace

std::unique_ptr<Step> make_end(const StepMaker& maker) {
  const Node& node = maker.node;
  const Quantization& q = quantization(maker.graph, node.op == Op::quantize ? node.outputs[0] : node.inputs[0]);
  const QuantizeParams params{1.0f / q.scale, q.scale, q.zero_point};
  const QuantizeKernel& kernel = select_quantize(maker.isa);
  if (node.has("phases")) return std::make_unique<QuantizePhasesStep>(kernel, node.integers("phases"), params);
  if (node.op == Op::quantize) return std::make_unique<QuantizeStep>(kernel, params);
  return std::make_unique<DequantizeStep>(kernel, params);
}

}  // namespace niwaki
