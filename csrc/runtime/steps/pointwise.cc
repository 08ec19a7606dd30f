// Operators that go byte by byte: add, extreme, mul, prelu, clamp, table.
#include <algorithm>

#include "base/memory.h"
#include "base/status.h"
#include "graph/fused_parts.h"
#include "graph/operators.h"
#include "kernels/add/add.h"
#include "kernels/mul/mul.h"
#include "kernels/prelu/prelu.h"
#include "kernels/table/table.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

// Sums, and the larger or smaller of two values.
class AddStep : public Step {
 public:
  AddStep(const AddKernel& kernel, AddFunction function, const AddParams& params) : function_(function), params_(params) {
    info.kernel = std::string("add_") + kernel.name;
  }
  bool may_overwrite(size_t) const override { return true; }
  void run(const StepCall& call) const override {
    add(function_, call.in[0].planes, call.in[1].planes, call.out[0].planes, params_, call.pool);
  }

 private:
  AddFunction function_;
  AddParams params_;
};

class PreluStep : public Step {
 public:
  PreluStep(const PreluKernel& kernel, std::vector<float> factors, const PreluParams& params)
      : kernel_(kernel), factors_(std::move(factors)), params_(params) {
    info.kernel = std::string("prelu_") + kernel.name;
    info.bytes = static_cast<int64_t>(factors_.size() * sizeof(float));
  }
  bool may_overwrite(size_t) const override { return true; }
  void run(const StepCall& call) const override {
    prelu(kernel_, call.in[0].planes, call.out[0].planes, factors_.data(), params_, call.pool);
  }

 private:
  const PreluKernel& kernel_;
  std::vector<float> factors_;  // of each channel, in whole groups
  PreluParams params_;
};

class MulStep : public Step {
 public:
  MulStep(const MulKernel& kernel, const MulParams& params) : kernel_(kernel), params_(params) {
    info.kernel = std::string("mul_") + kernel.name;
  }
  void run(const StepCall& call) const override {
    mul(kernel_, call.in[0].planes, call.in[1].planes, call.out[0].planes, params_, call.pool);
  }

 private:
  const MulKernel& kernel_;
  MulParams params_;
};

class ClampStep : public Step {
 public:
  ClampStep(const TableKernel& kernel, uint8_t low, uint8_t high) : kernel_(kernel), low_(low), high_(high) {
    info.kernel = std::string("clamp_") + kernel.name;
  }
  bool may_overwrite(size_t) const override { return true; }
  void run(const StepCall& call) const override { clamp(kernel_, call.in[0].planes, call.out[0].planes, low_, high_, call.pool); }

 private:
  const TableKernel& kernel_;
  uint8_t low_, high_;
};

class TableStep : public Step {
 public:
  TableStep(const TableKernel& kernel, const uint8_t* table) : kernel_(kernel), table_(256) {
    std::copy_n(table, 256, table_.data());
    info.kernel = std::string("table_") + kernel.name;
    info.bytes = 256;
  }
  bool may_overwrite(size_t) const override { return true; }
  void run(const StepCall& call) const override {
    lookup(kernel_, call.in[0].planes, call.out[0].planes, table_.data(), call.pool);
  }

 private:
  const TableKernel& kernel_;
  Buffer table_;
};

std::vector<float> prelu_factors(const Tensor& slope, float scale) {
  std::vector<float> factors(static_cast<size_t>(round_up(slope.elements(), 4)), 0.0f);
  for (int64_t i = 0; i < slope.elements(); ++i) factors[static_cast<size_t>(i)] = slope.as<float>()[i] * scale;
  return factors;
}

}  // namespace

std::unique_ptr<After> make_after(const StepMaker& maker) {
  const Node& layer = maker.node;
  if (!layer.has(kSums)) return nullptr;
  if (const Tensor* table = layer.find_tensor("table")) return after_table(select_table(maker.isa), table->data());
  const Quantization in = *sums_quantization(maker.graph, layer), &out = quantization(maker.graph, layer.outputs[0]);
  const std::vector<int64_t> bounds = layer.integers(kSlopeBounds);
  const PreluParams params{in.scale / out.scale, in.zero_point, out.zero_point, narrow(bounds[0]), narrow(bounds[1])};
  return after_prelu(select_prelu(maker.isa), prelu_factors(layer.tensor("slope"), params.scale), params);
}

std::unique_ptr<Step> make_pointwise(const StepMaker& maker) {
  const Node& node = maker.node;
  const Isa isa = maker.isa;
  const Quantization &a = quantization(maker.graph, node.inputs[0]), &b = quantization(maker.graph, node.inputs.back()),
                     &out = quantization(maker.graph, node.outputs[0]);
  if (node.op == Op::table) return std::make_unique<TableStep>(select_table(isa), node.tensor("table").data());
  const int32_t low = narrow(node.integer("low")), high = narrow(node.integer("high"));
  switch (node.op) {
    case Op::add:
    case Op::extreme: {
      const AddParams params{a.scale / out.scale, b.scale / out.scale, a.zero_point, b.zero_point, out.zero_point, low, high};
      const AddKernel& kernel = select_add(isa);
      const AddFunction function = node.op == Op::add                   ? kernel.run
                                   : node.word("function") == "maximum" ? kernel.maximum
                                                                        : kernel.minimum;
      return std::make_unique<AddStep>(kernel, function, params);
    }
    case Op::prelu: {
      const PreluParams params{a.scale / out.scale, a.zero_point, out.zero_point, low, high};
      return std::make_unique<PreluStep>(select_prelu(isa), prelu_factors(node.tensor("slope"), params.scale), params);
    }
    case Op::mul: {
      const MulParams params{(a.scale * b.scale) / out.scale, a.zero_point, b.zero_point, out.zero_point, low, high};
      return std::make_unique<MulStep>(select_mul(isa), params);
    }
    case Op::clamp: return std::make_unique<ClampStep>(select_table(isa), static_cast<uint8_t>(low), static_cast<uint8_t>(high));
    default: throw Error(Status::internal, describe(node) + ": not a pointwise operator.");
  }
}

}  // namespace niwaki
