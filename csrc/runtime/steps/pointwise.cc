// Operators that go byte by byte: add, mul, clamp, table.
#include <algorithm>

#include "base/memory.h"
#include "base/status.h"
#include "graph/operators.h"
#include "kernels/add/add.h"
#include "kernels/mul/mul.h"
#include "kernels/table/table.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

class AddStep : public Step {
 public:
  AddStep(const AddKernel& kernel, const AddParams& params) : kernel_(kernel), params_(params) {
    info.kernel = std::string("add_") + kernel.name;
  }
  bool may_overwrite(size_t) const override { return true; }
  void run(const StepCall& call) const override {
    add(kernel_, call.in[0].planes, call.in[1].planes, call.out[0].planes, params_, call.pool);
  }

 private:
  const AddKernel& kernel_;
  AddParams params_;
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

}  // namespace

std::unique_ptr<Step> make_pointwise(const StepMaker& maker) {
  const Node& node = maker.node;
  const Isa isa = maker.isa;
  const Quantization &a = quantization(maker.graph, node.inputs[0]), &b = quantization(maker.graph, node.inputs.back()),
                     &out = quantization(maker.graph, node.outputs[0]);
  if (node.op == Op::table) return std::make_unique<TableStep>(select_table(isa), node.tensor("table").data());
  const int32_t low = narrow(node.integer("low")), high = narrow(node.integer("high"));
  switch (node.op) {
    case Op::add: {
      const AddParams params{a.scale / out.scale, b.scale / out.scale, a.zero_point, b.zero_point, out.zero_point, low, high};
      return std::make_unique<AddStep>(select_add(isa), params);
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
