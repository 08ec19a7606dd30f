// Operators that move the elements of row-major values. Those of grouped values are in copy.cc.
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/status.h"
#include "graph/operators.h"
#include "kernels/movement/movement.h"
#include "kernels/scatter/scatter.h"
#include "runtime/steps/attributes.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

class MovementStep : public Step {
 public:
  explicit MovementStep(const char* kernel) {
    info.scheme = "move";
    info.kernel = kernel;
  }
};

int axis_of(const Attributes& attributes, std::size_t rank) {
  const int64_t axis = integer(attributes, "axis");
  return static_cast<int>(axis < 0 ? axis + static_cast<int64_t>(rank) : axis);
}

Sizes axes_of(const Attributes& attributes, std::size_t rank) {
  Sizes axes = integers(attributes, "axes");
  for (int64_t& axis : axes) axis += axis < 0 ? static_cast<int64_t>(rank) : 0;
  return axes;
}

// ---- strided copies ----

using Copies = std::vector<StridedCopy>;

Copies reshape_copies(const StepSizes& s) {
  const int64_t elements = s.out[0].elements();
  return {slice_copy({&elements, 1}, {0, 0, 1, elements}, dtype_bytes(s.out[0].dtype))};
}

Copies permute_copies(const StepSizes& s) {
  return {permute_copy(s.in[0].dims, axes_of(s.attributes, s.in[0].dims.size()), dtype_bytes(s.in[0].dtype))};
}

Copies expand_copies(const StepSizes& s) { return {expand_copy(s.in[0].dims, s.out[0].dims, dtype_bytes(s.in[0].dtype))}; }

Copies slice_copies(const StepSizes& s) {
  const int axis = axis_of(s.attributes, s.in[0].dims.size());
  const int64_t size = s.in[0].dims[static_cast<std::size_t>(axis)], start = integer(s.attributes, "start");
  const AxisSlice slice{axis, std::clamp<int64_t>(start < 0 ? start + size : start, 0, size), integer(s.attributes, "step"),
                        s.out[0].dims[static_cast<std::size_t>(axis)]};
  return {slice_copy(s.in[0].dims, slice, dtype_bytes(s.in[0].dtype))};
}

Copies flip_copies(const StepSizes& s) {
  return {flip_copy(s.in[0].dims, axes_of(s.attributes, s.in[0].dims.size()), dtype_bytes(s.in[0].dtype))};
}

Copies tile_copies(const StepSizes& s) {
  return {tile_copy(s.in[0].dims, integers(s.attributes, "repeats"), dtype_bytes(s.in[0].dtype))};
}

Copies rolled_copies(const StepSizes& s) {
  return roll_copies(s.in[0].dims, integers(s.attributes, "shifts"), axes_of(s.attributes, s.in[0].dims.size()),
                     dtype_bytes(s.in[0].dtype));
}

struct CopiesSetup : StepSetup {
  explicit CopiesSetup(Copies made) : copies(std::move(made)) {}
  Copies copies;
};

class StridedStep : public MovementStep {
 public:
  explicit StridedStep(Copies (*copies)(const StepSizes&)) : MovementStep("strided copy"), copies_(copies) {}

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override {
    return std::make_unique<CopiesSetup>(copies_(sizes));
  }
  std::optional<int64_t> view(const StepSizes& sizes) const override {
    const Copies copies = copies_(sizes);
    const bool can = copies.size() == 1 && copies[0].is_block() && !copies[0].empty();
    return can ? std::optional(copies[0].from()) : std::nullopt;
  }
  void run(const StepCall& call) const override {
    for (const StridedCopy& copy : static_cast<const CopiesSetup*>(call.setup)->copies)
      copy.run(call.in[0].data, call.out[0].data, call.pool);
  }

 private:
  Copies (*copies_)(const StepSizes&);
};

class ConcatStep : public MovementStep {
 public:
  ConcatStep() : MovementStep("strided copy") {}

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override { return std::make_unique<CopiesSetup>(copies(sizes)); }
  std::vector<int64_t> places(const StepSizes& sizes) const override {
    std::vector<int64_t> offsets;
    for (const StridedCopy& copy : copies(sizes)) {
      if (!copy.is_block()) return {};
      offsets.push_back(copy.to());
    }
    return offsets;
  }
  void run(const StepCall& call) const override {
    const Copies& copies = static_cast<const CopiesSetup*>(call.setup)->copies;
    for (std::size_t i = 0; i < copies.size(); ++i) {
      const bool placed = copies[i].is_block() && call.in[i].data == call.out[0].as<uint8_t>() + copies[i].to();
      if (!placed) copies[i].run(call.in[i].data, call.out[0].data, call.pool);
    }
  }

 private:
  static Copies copies(const StepSizes& sizes) {
    const Array& out = sizes.out[0];
    const int axis = axis_of(sizes.attributes, out.dims.size());
    Copies copies;
    int64_t start = 0;
    for (const Array& part : sizes.in) {
      copies.push_back(concat_copy(part.dims, axis, start, out.dims[static_cast<std::size_t>(axis)], dtype_bytes(out.dtype)));
      start += part.dims[static_cast<std::size_t>(axis)];
    }
    return copies;
  }
};

// ---- pad ----

struct PadSetup : StepSetup {
  explicit PadSetup(PadCopy made) : copy(std::move(made)) {}
  PadCopy copy;
};

class PadStep : public MovementStep {
 public:
  explicit PadStep(const StepMaker& maker) : MovementStep("pad") {
    const Value& value = maker.graph.value(maker.node.inputs[0]);
    if (!value.quantization) return;
    const int64_t q = maker.node.integer("q");
    q_ = static_cast<uint8_t>(q < 0 ? value.quantization->zero_point : q);
  }

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override { return std::make_unique<PadSetup>(copy(sizes)); }
  std::optional<int64_t> view(const StepSizes& sizes) const override {
    return copy(sizes).is_block() ? std::optional<int64_t>(0) : std::nullopt;
  }
  void run(const StepCall& call) const override {
    auto value = element_of(number(call.attributes, "value"), call.out[0].dtype);
    if (q_) value[0] = *q_;
    static_cast<const PadSetup*>(call.setup)->copy.run(call.in[0].data, call.out[0].data, value.data(), call.pool);
  }

 private:
  static PadCopy copy(const StepSizes& sizes) {
    const std::string& mode = word(sizes.attributes, "mode");
    const PadMode way = mode == "reflect"     ? PadMode::reflect
                        : mode == "replicate" ? PadMode::replicate
                        : mode == "circular"  ? PadMode::circular
                                              : PadMode::constant;
    return PadCopy(sizes.in[0].dims, integers(sizes.attributes, "padding"), way, dtype_bytes(sizes.in[0].dtype));
  }
  std::optional<uint8_t> q_;  // what is written around a value with a quantization
};

// ---- indices that are data ----

int64_t product(const Sizes& sizes, std::size_t begin, std::size_t end) {
  int64_t count = 1;
  for (std::size_t i = begin; i < end; ++i) count *= sizes[i];
  return count;
}

class TakeStep : public MovementStep {
 public:
  explicit TakeStep(const Node& node) : MovementStep("take"), where_(describe(node)) {}

  void run(const StepCall& call) const override {
    const Array &data = call.in[0], &indices = call.in[1];
    const auto axis = static_cast<std::size_t>(axis_of(call.attributes, data.dims.size()));
    const TakeParams params{product(data.dims, 0, axis),
                            data.dims[axis],
                            product(data.dims, axis + 1, data.dims.size()),
                            indices.elements(),
                            dtype_bytes(data.dtype),
                            integer(call.attributes, "wrap") != 0,
                            where_};
    if (indices.dtype == DType::i32) take(data.data, indices.as<int32_t>(), call.out[0].data, params, call.pool);
    else take(data.data, indices.as<int64_t>(), call.out[0].data, params, call.pool);
  }

 private:
  std::string where_;
};

class GatherStep : public MovementStep {
 public:
  explicit GatherStep(const Node& node) : MovementStep("gather"), where_(describe(node)) {}

  void run(const StepCall& call) const override {
    const Array &data = call.in[0], &indices = call.in[1];
    static constexpr int64_t kOne[] = {1};  // a value of rank 0 is one of rank 1
    GatherParams params{kOne, kOne, 0, dtype_bytes(data.dtype), where_};
    if (!data.dims.empty())
      params = {data.dims, indices.dims, axis_of(call.attributes, data.dims.size()), dtype_bytes(data.dtype), where_};
    gather(data.data, indices.as<int64_t>(), call.out[0].data, params, call.pool);
  }

 private:
  std::string where_;
};

class ScatterStep : public MovementStep {
 public:
  explicit ScatterStep(const Node& node)
      : MovementStep("scatter"), where_(describe(node)), function_(function_of(node.word("function"))) {}
  bool may_overwrite(size_t input) const override { return input == 0; }

  void run(const StepCall& call) const override {
    const Array &data = call.in[0], &indices = call.in[1], &updates = call.in[2];
    if (call.out[0].data != data.data && data.elements() > 0)
      std::memcpy(call.out[0].data, data.data, static_cast<size_t>(data.elements() * dtype_bytes(data.dtype)));
    const ScatterParams params{data.dims, indices.dims, updates.dims, axis_of(call.attributes, data.dims.size()),
                               function_, where_};
    switch (data.dtype) {
      case DType::f32:
        return scatter(updates.as<const float>(), indices.as<int64_t>(), call.out[0].as<float>(), params, call.pool);
      case DType::i64:
        return scatter(updates.as<const int64_t>(), indices.as<int64_t>(), call.out[0].as<int64_t>(), params, call.pool);
      case DType::i32:
        return scatter(updates.as<const int32_t>(), indices.as<int64_t>(), call.out[0].as<int32_t>(), params, call.pool);
      default: return scatter(updates.as<const uint8_t>(), indices.as<int64_t>(), call.out[0].as<uint8_t>(), params, call.pool);
    }
  }

 private:
  static ScatterFunction function_of(const std::string& word) {
    return word == "add"   ? ScatterFunction::add
           : word == "mul" ? ScatterFunction::mul
           : word == "max" ? ScatterFunction::max
           : word == "min" ? ScatterFunction::min
                           : ScatterFunction::set;
  }
  std::string where_;
  ScatterFunction function_;
};

struct UnfoldSetup : StepSetup {
  UnfoldParams params;
};

class UnfoldStep : public MovementStep {
 public:
  UnfoldStep() : MovementStep("unfold") {}

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override {
    const Sizes& in = sizes.in[0].dims;
    const Sizes kernel = integers(sizes.attributes, "kernel"), stride = integers(sizes.attributes, "stride");
    const Sizes padding = integers(sizes.attributes, "padding"), dilation = integers(sizes.attributes, "dilation");
    const auto windows = [&](std::size_t i) {
      return (in[2 + i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) / stride[i] + 1;
    };
    auto setup = std::make_unique<UnfoldSetup>();
    setup->params = {.images = in[0],
                     .channels = in[1],
                     .height = in[2],
                     .width = in[3],
                     .out_height = windows(0),
                     .out_width = windows(1),
                     .kernel_h = kernel[0],
                     .kernel_w = kernel[1],
                     .stride_h = stride[0],
                     .stride_w = stride[1],
                     .pad_top = padding[0],
                     .pad_left = padding[1],
                     .dilation_h = dilation[0],
                     .dilation_w = dilation[1]};
    return setup;
  }
  void run(const StepCall& call) const override {
    unfold(call.in[0].as<float>(), call.out[0].as<float>(), static_cast<const UnfoldSetup*>(call.setup)->params, call.pool);
  }
};

}  // namespace

std::unique_ptr<Step> make_movement(const StepMaker& maker) {
  switch (maker.node.op) {
    case Op::reshape: return std::make_unique<StridedStep>(reshape_copies);
    case Op::permute: return std::make_unique<StridedStep>(permute_copies);
    case Op::expand: return std::make_unique<StridedStep>(expand_copies);
    case Op::slice: return std::make_unique<StridedStep>(slice_copies);
    case Op::flip: return std::make_unique<StridedStep>(flip_copies);
    case Op::tile: return std::make_unique<StridedStep>(tile_copies);
    case Op::roll: return std::make_unique<StridedStep>(rolled_copies);
    case Op::concat: return std::make_unique<ConcatStep>();
    case Op::pad: return std::make_unique<PadStep>(maker);
    case Op::take: return std::make_unique<TakeStep>(maker.node);
    case Op::gather: return std::make_unique<GatherStep>(maker.node);
    case Op::scatter: return std::make_unique<ScatterStep>(maker.node);
    case Op::unfold: return std::make_unique<UnfoldStep>();
    default: throw Error(Status::internal, describe(maker.node) + ": not an operator that moves elements.");
  }
}

}  // namespace niwaki
