// Operators that go element by element over row-major values: unary, binary, where, cast, channel_affine.
#include <algorithm>
#include <cstring>
#include <iterator>
#include <vector>

#include "base/status.h"
#include "graph/operators.h"
#include "kernels/elementwise/elementwise.h"
#include "runtime/steps/attributes.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

ElementType element_type(DType dtype) {
  switch (dtype) {
    case DType::f32: return ElementType::f32;
    case DType::i64: return ElementType::i64;
    case DType::i32: return ElementType::i32;
    case DType::boolean: return ElementType::boolean;
    case DType::byte: return ElementType::u8;
    case DType::i8: return ElementType::i8;
    default: throw Error(Status::internal, std::string("no kernel goes element by element over ") + dtype_name(dtype) + ".");
  }
}

class ElementwiseStep : public Step {
 public:
  ElementwiseStep(const ElementwiseKernel& kernel, const std::string& function) : kernel_(kernel) {
    info.scheme = "float32";
    info.kernel = function + "_" + kernel.name;
  }
  bool may_overwrite(size_t) const override { return true; }

 protected:
  const ElementwiseKernel& kernel_;
};

class UnaryStep : public ElementwiseStep {
 public:
  UnaryStep(const ElementwiseKernel& kernel, const Node& node, DType dtype) : ElementwiseStep(kernel, node.word("function")) {
    const double alpha = node.number("alpha"), beta = node.number("beta");
    params_ = {find_unary(node.word("function")).value(),
               element_type(dtype),
               static_cast<float>(alpha),
               static_cast<float>(beta),
               0,
               0};
    std::memcpy(&params_.low, element_of(alpha, DType::i64).data(), sizeof(params_.low));
    std::memcpy(&params_.high, element_of(beta, DType::i64).data(), sizeof(params_.high));
    if (dtype == DType::i32) {
      params_.low = std::clamp<int64_t>(params_.low, INT32_MIN, INT32_MAX);
      params_.high = std::clamp<int64_t>(params_.high, INT32_MIN, INT32_MAX);
    }
  }
  void run(const StepCall& call) const override {
    unary(kernel_, params_, call.in[0].data, call.out[0].data, call.out[0].elements(), call.pool);
  }

 private:
  UnaryParams params_{};
};

// How the inputs are broadcast to the output.
struct NestSetup : StepSetup {
  explicit NestSetup(const StepSizes& sizes) {
    std::vector<std::span<const int64_t>> inputs;
    for (const Array& in : sizes.in) inputs.emplace_back(in.dims);
    nest = Nest::of(sizes.out[0].dims, inputs);
  }
  Nest nest;
};

class BroadcastStep : public ElementwiseStep {
 public:
  using ElementwiseStep::ElementwiseStep;
  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override { return std::make_unique<NestSetup>(sizes); }

 protected:
  static const Nest& nest_of(const StepCall& call) { return static_cast<const NestSetup*>(call.setup)->nest; }
};

class BinaryStep : public BroadcastStep {
 public:
  BinaryStep(const ElementwiseKernel& kernel, const Node& node, DType dtype)
      : BroadcastStep(kernel, node.word("function")),
        function_(find_binary(node.word("function")).value()),
        type_(element_type(dtype)),
        described_(describe(node)) {}
  void run(const StepCall& call) const override {
    if (!binary(kernel_, function_, type_, nest_of(call), call.in[0].data, call.in[1].data, call.out[0].data, call.pool))
      throw Error(Status::invalid_argument, described_ + ": divides an integer by zero; its second input must have none.");
  }

 private:
  BinaryFunction function_;
  ElementType type_;
  std::string described_;
};

class WhereStep : public BroadcastStep {
 public:
  WhereStep(const ElementwiseKernel& kernel, DType dtype) : BroadcastStep(kernel, "where"), type_(element_type(dtype)) {}
  void run(const StepCall& call) const override {
    where(kernel_, type_, nest_of(call), call.in[0].data, call.in[1].data, call.in[2].data, call.out[0].data, call.pool);
  }

 private:
  ElementType type_;
};

class CastStep : public ElementwiseStep {
 public:
  CastStep(const ElementwiseKernel& kernel, DType from, DType to)
      : ElementwiseStep(kernel, "cast"), from_(element_type(from)), to_(element_type(to)) {}
  void run(const StepCall& call) const override {
    cast(kernel_, from_, to_, call.in[0].data, call.out[0].data, call.out[0].elements(), call.pool);
  }

 private:
  ElementType from_, to_;
};

class AffineStep : public ElementwiseStep {
 public:
  AffineStep(const ElementwiseKernel& kernel, const Node& node)
      : ElementwiseStep(kernel, "channel_affine"), gain_(numbers_of(node, "gain")), shift_(numbers_of(node, "shift")) {
    info.bytes = node.tensor("gain").bytes() + node.tensor("shift").bytes();
  }
  void run(const StepCall& call) const override {
    const Sizes& dims = call.in[0].dims;
    int64_t inner = 1;
    for (auto i = from_front(integer(call.attributes, "axis"), static_cast<int>(dims.size())) + 1; i < std::ssize(dims); ++i)
      inner *= dims[static_cast<size_t>(i)];
    channel_affine(kernel_, {gain_.data(), shift_.data(), std::ssize(gain_), inner}, call.in[0].as<float>(),
                   call.out[0].as<float>(), call.out[0].elements(), call.pool);
  }

 private:
  static std::vector<float> numbers_of(const Node& node, const char* name) {
    const Tensor tensor = node.tensor(name).unpacked();
    return {tensor.as<float>(), tensor.as<float>() + tensor.elements()};
  }
  std::vector<float> gain_, shift_;
};

}  // namespace

std::unique_ptr<Step> make_elementwise(const StepMaker& maker) {
  const Node& node = maker.node;
  const ElementwiseKernel& kernel = select_elementwise(maker.isa);
  const DType in = maker.graph.value(node.inputs[0]).dtype, out = maker.graph.value(node.outputs[0]).dtype;
  switch (node.op) {
    case Op::unary: return std::make_unique<UnaryStep>(kernel, node, in);
    case Op::binary: return std::make_unique<BinaryStep>(kernel, node, in);
    case Op::where: return std::make_unique<WhereStep>(kernel, out);
    case Op::cast: return std::make_unique<CastStep>(kernel, in, out);
    case Op::channel_affine: return std::make_unique<AffineStep>(kernel, node);
    default: throw Error(Status::internal, describe(node) + ": not an operator that goes element by element.");
  }
}

}  // namespace niwaki
