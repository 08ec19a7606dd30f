// Values that are made: full, arange, linspace, size. A constant lies in the model and needs no step.
#include "base/status.h"
#include "graph/operators.h"
#include "kernels/values/values.h"
#include "runtime/steps/attributes.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

class ValueStep : public Step {
 public:
  explicit ValueStep(const char* kernel) {
    info.scheme = "move";
    info.kernel = kernel;
  }
};

class FullStep : public ValueStep {
 public:
  FullStep() : ValueStep("fill") {}
  void run(const StepCall& call) const override {
    const Array& out = call.out[0];
    fill(out.data, element_of(number(call.attributes, "value"), out.dtype).data(), dtype_bytes(out.dtype), out.elements(),
         call.pool);
  }
};

class ArangeStep : public ValueStep {
 public:
  ArangeStep() : ValueStep("arange") {}
  void run(const StepCall& call) const override {
    const Array& out = call.out[0];
    const int64_t start = integer(call.attributes, "start"), step = integer(call.attributes, "step");
    if (out.dtype == DType::i64) arange(out.as<int64_t>(), out.elements(), start, step);
    else if (out.dtype == DType::i32) arange(out.as<int32_t>(), out.elements(), start, step);
    else arange(out.as<float>(), out.elements(), start, step);
  }
};

class LinspaceStep : public ValueStep {
 public:
  LinspaceStep() : ValueStep("linspace") {}
  void run(const StepCall& call) const override {
    linspace(call.out[0].as<float>(), call.out[0].elements(), static_cast<float>(number(call.attributes, "start")),
             static_cast<float>(number(call.attributes, "end")));
  }
};

class SizeStep : public ValueStep {
 public:
  SizeStep() : ValueStep("size") {}
  void run(const StepCall& call) const override { *call.out[0].as<int64_t>() = integer(call.attributes, "value"); }
};

}  // namespace

std::unique_ptr<Step> make_values(const StepMaker& maker) {
  switch (maker.node.op) {
    case Op::full: return std::make_unique<FullStep>();
    case Op::arange: return std::make_unique<ArangeStep>();
    case Op::linspace: return std::make_unique<LinspaceStep>();
    case Op::size: return std::make_unique<SizeStep>();
    default: throw Error(Status::internal, describe(maker.node) + ": not an operator that makes a value.");
  }
}

}  // namespace niwaki
