// Operators along axes of row-major values: reduce, arg_reduce, cumsum, cumprod, cumextreme, softmax, the norms, topk and sort.
#include <array>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "graph/operators.h"
#include "kernels/order/order.h"
#include "kernels/rows/plain.h"
#include "kernels/rows/rows.h"
#include "runtime/steps/attributes.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

class RowsStep : public Step {
 public:
  explicit RowsStep(std::string kernel) {
    info.scheme = "float32";
    info.kernel = std::move(kernel);
  }
};

// One of T's kernels, by the type of a value.
template <typename Function>
void with_numbers(DType dtype, const Function& function) {
  switch (dtype) {
    case DType::f32: return function(float{});
    case DType::i64: return function(int64_t{});
    case DType::i32: return function(int32_t{});
    default: throw Error(Status::internal, std::string("nothing is compared along an axis of ") + dtype_name(dtype) + ".");
  }
}

// ---- reduce ----

struct ReductionSetup : StepSetup {
  explicit ReductionSetup(const StepSizes& sizes)
      : reduction(Reduction::of(sizes.in[0].dims, integers(sizes.attributes, "axes"))) {}
  Reduction reduction;
};

class ReduceStep : public RowsStep {
 public:
  using RowsStep::RowsStep;
  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override { return std::make_unique<ReductionSetup>(sizes); }

 protected:
  static const Reduction& reduction_of(const StepCall& call) { return static_cast<const ReductionSetup*>(call.setup)->reduction; }
};

template <typename Function>
struct Named {
  const char* name;
  Function function;
};
constexpr std::array<Named<ReduceFunction>, 8> kReduceFunctions = {{{"sum", ReduceFunction::sum},
                                                                    {"mean", ReduceFunction::mean},
                                                                    {"max", ReduceFunction::max},
                                                                    {"min", ReduceFunction::min},
                                                                    {"prod", ReduceFunction::prod},
                                                                    {"norm2", ReduceFunction::norm2},
                                                                    {"sum_abs", ReduceFunction::sum_abs},
                                                                    {"var", ReduceFunction::var}}};
constexpr std::array<Named<PlainFunction>, 5> kPlainFunctions = {{{"sum", PlainFunction::sum},
                                                                  {"max", PlainFunction::max},
                                                                  {"min", PlainFunction::min},
                                                                  {"any", PlainFunction::any},
                                                                  {"all", PlainFunction::all}}};
template <typename Functions>
auto function_of(const Node& node, const Functions& functions) {
  for (const auto& [name, function] : functions)
    if (node.word("function") == name) return function;
  throw Error(Status::internal, describe(node) + ": there is no kernel for " + node.word("function") + ".");
}

class FloatReduceStep : public ReduceStep {
 public:
  FloatReduceStep(const RowsKernel& kernel, const Node& node)
      : ReduceStep(node.word("function") + "_" + kernel.name),
        kernel_(kernel),
        function_(function_of(node, kReduceFunctions)),
        correction_(node.number("correction")) {}
  void run(const StepCall& call) const override {
    reduce(kernel_, function_, correction_, reduction_of(call), call.in[0].as<float>(), call.out[0].as<float>(), call.pool);
  }

 private:
  const RowsKernel& kernel_;
  ReduceFunction function_;
  double correction_;
};

template <typename T>
class PlainReduceStep : public ReduceStep {
 public:
  explicit PlainReduceStep(const Node& node) : ReduceStep(node.word("function")), function_(function_of(node, kPlainFunctions)) {}
  void run(const StepCall& call) const override {
    reduce_plain(function_, reduction_of(call), call.in[0].as<T>(), call.out[0].as<T>(), call.pool);
  }

 private:
  PlainFunction function_;
};

std::unique_ptr<Step> make_reduce(const RowsKernel& kernel, const Node& node, DType dtype) {
  switch (dtype) {
    case DType::i64: return std::make_unique<PlainReduceStep<int64_t>>(node);
    case DType::boolean: return std::make_unique<PlainReduceStep<uint8_t>>(node);
    default: return std::make_unique<FloatReduceStep>(kernel, node);
  }
}

// ---- along one axis ----

AxisView view_of(std::span<const Array> in, const Attributes& attributes) {
  return AxisView::of(in[0].dims, integer(attributes, "axis"));
}

class ArgReduceStep : public RowsStep {
 public:
  explicit ArgReduceStep(const Node& node) : RowsStep(node.word("function")), largest_(node.word("function") == "argmax") {}
  void run(const StepCall& call) const override {
    with_numbers(call.in[0].dtype, [&](auto number) {
      using T = decltype(number);
      const Array& out = call.out[0];  // of another type than int64 where a cast went into it
      arg_reduce(view_of(call.in, call.attributes), largest_, call.in[0].as<const T>(), out.data, dtype_bytes(out.dtype),
                 call.pool);
    });
  }

 private:
  bool largest_;
};

// cumsum and cumprod.
class CumulateStep : public RowsStep {
 public:
  explicit CumulateStep(Op op) : RowsStep(op_name(op)), product_(op == Op::cumprod) {}
  bool may_overwrite(size_t) const override { return true; }
  void run(const StepCall& call) const override {
    if (call.in[0].dtype == DType::f32) compute<float>(call);
    else compute<int64_t>(call);
  }

 private:
  template <typename T>
  void compute(const StepCall& call) const {
    (product_ ? cumprod<T> : cumsum<T>)(view_of(call.in, call.attributes), call.in[0].as<const T>(), call.out[0].as<T>(),
                                        call.pool);
  }
  bool product_;
};

class CumExtremeStep : public RowsStep {
 public:
  explicit CumExtremeStep(bool largest) : RowsStep("cumextreme"), largest_(largest) {}
  void run(const StepCall& call) const override {
    with_numbers(call.in[0].dtype, [&](auto number) {
      using T = decltype(number);
      cumextreme(view_of(call.in, call.attributes), largest_, call.in[0].as<const T>(), call.out[0].as<T>(),
                 call.out[1].as<int64_t>(), call.pool);
    });
  }

 private:
  bool largest_;
};

class SoftmaxStep : public RowsStep {
 public:
  SoftmaxStep(const RowsKernel& kernel, bool log)
      : RowsStep(std::string(log ? "log_softmax_" : "softmax_") + kernel.name), kernel_(kernel), log_(log) {}
  bool may_overwrite(size_t) const override { return true; }
  void run(const StepCall& call) const override {
    softmax(kernel_, view_of(call.in, call.attributes), log_, call.in[0].as<float>(), call.out[0].as<float>(), call.pool);
  }

 private:
  const RowsKernel& kernel_;
  bool log_;
};

// topk and sort: the first of an axis in order, or all.
class OrderStep : public RowsStep {
 public:
  OrderStep(const char* kernel, bool descending) : RowsStep(kernel), descending_(descending) {}
  int64_t scratch_bytes(const StepSizes& sizes) const override {
    int64_t bytes = 0;
    with_numbers(sizes.in[0].dtype,
                 [&](auto number) { bytes = order_scratch_bytes<decltype(number)>(view_of(sizes.in, sizes.attributes).count); });
    return bytes;
  }
  void run(const StepCall& call) const override {
    with_numbers(call.in[0].dtype, [&](auto number) {
      using T = decltype(number);
      const int64_t k = call.out[0].dims[static_cast<size_t>(integer(call.attributes, "axis"))];
      order(view_of(call.in, call.attributes), k, descending_, call.in[0].as<const T>(), call.out[0].as<T>(),
            call.out[1].as<int64_t>(), call.scratch, call.scratch_bytes, call.pool);
    });
  }

 private:
  bool descending_;
};

// ---- norms ----

class NormStep : public RowsStep {
 public:
  NormStep(const RowsKernel& kernel, const Node& node)
      : RowsStep(std::string(op_name(node.op)) + "_" + kernel.name),
        kernel_(kernel),
        weight_(numbers_of(node, "weight")),
        bias_(numbers_of(node, "bias")),
        eps_(static_cast<float>(node.number("eps"))),
        centered_(node.op != Op::rms_norm) {
    info.bytes = (std::ssize(weight_) + std::ssize(bias_)) * int64_t{sizeof(float)};
  }
  bool may_overwrite(size_t) const override { return true; }
  void run(const StepCall& call) const override {
    const Array& in = call.in[0];
    NormParams params{weight_.empty() ? nullptr : weight_.data(), bias_.empty() ? nullptr : bias_.data(), 1, 1, eps_, centered_};
    if (call.attributes.contains("groups")) {
      const AxisView channels = AxisView::of(in.dims, 1);
      const int64_t groups = integer(call.attributes, "groups");
      params.inner = channels.inner;
      params.count = channels.count / groups * channels.inner;
      return group_norm(kernel_, params, channels.outer, channels.count, groups, in.as<float>(), call.out[0].as<float>(),
                        call.pool);
    }
    for (auto axis = in.dims.size() - static_cast<size_t>(integer(call.attributes, "axes")); axis < in.dims.size(); ++axis)
      params.count *= in.dims[axis];
    normalize(kernel_, params, in.elements() / params.count, in.as<float>(), call.out[0].as<float>(), call.pool);
  }

 private:
  static std::vector<float> numbers_of(const Node& node, const char* name) {
    if (node.find_tensor(name) == nullptr) return {};
    const Tensor tensor = node.tensor(name).unpacked();
    return {tensor.as<float>(), tensor.as<float>() + tensor.elements()};
  }
  const RowsKernel& kernel_;
  std::vector<float> weight_, bias_;
  float eps_;
  bool centered_;
};

}  // namespace

std::unique_ptr<Step> make_rows(const StepMaker& maker) {
  const Node& node = maker.node;
  const RowsKernel& kernel = select_rows(maker.isa);
  switch (node.op) {
    case Op::reduce: return make_reduce(kernel, node, maker.graph.value(node.inputs[0]).dtype);
    case Op::arg_reduce: return std::make_unique<ArgReduceStep>(node);
    case Op::cumsum:
    case Op::cumprod: return std::make_unique<CumulateStep>(node.op);
    case Op::cumextreme: return std::make_unique<CumExtremeStep>(node.integer("largest") != 0);
    case Op::softmax: return std::make_unique<SoftmaxStep>(kernel, node.integer("log") != 0);
    case Op::layer_norm:
    case Op::rms_norm:
    case Op::group_norm: return std::make_unique<NormStep>(kernel, node);
    case Op::topk: return std::make_unique<OrderStep>("topk", node.integer("largest") != 0);
    case Op::sort: return std::make_unique<OrderStep>("sort", node.integer("descending") != 0);
    default: throw Error(Status::internal, describe(node) + ": not an operator along axes.");
  }
}

}  // namespace niwaki
