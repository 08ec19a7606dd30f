// Operators that only move bytes. Many need not even that: they are views of their input, or their inputs were written in place.
#include "kernels/copy/copy.h"

#include "base/status.h"
#include "graph/shapes.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

bool same_shape(const Planes& a, const Planes& b) {
  return a.images == b.images && a.channels == b.channels && a.height == b.height && a.width == b.width;
}

std::optional<int64_t> whole_if(bool whole) { return whole ? std::optional<int64_t>(0) : std::nullopt; }

class CopyStep : public Step {
 public:
  CopyStep() { info.kernel = "copy"; }
};

class ConcatStep : public CopyStep {
 public:
  bool gathers() const override { return true; }
  std::optional<int64_t> view(std::span<const Planes> in, const Planes&) const override { return whole_if(in.size() == 1); }

  void run(const StepCall& call) const override {
    bool placed = false;
    int64_t channels = 0;
    for (const Planes& part : call.in) {
      placed = placed || part.data == call.out.group(channels / 4);
      channels += part.channels;
    }
    if (!placed) return concat(call.in, call.out, call.pool);
    // Parts are only placed where every part begins with a group; the others are copied one by one.
    channels = 0;
    for (const Planes& part : call.in) {
      Planes place = call.out;
      place.data = call.out.group(channels / 4);
      place.channels = part.channels;
      if (part.data != place.data) concat({&part, 1}, place, call.pool);
      channels += part.channels;
    }
  }
};

class SliceStep : public CopyStep {
 public:
  explicit SliceStep(const Node& node) {
    slice_.op = node.op;
    slice_.attributes = node.attributes;
  }
  std::optional<int64_t> view(std::span<const Planes> in, const Planes& out) const override {
    const SliceParams p = params(in[0]);
    if (same_shape(in[0], out)) return 0;
    if (p.axis == 1 && p.step == 1 && p.start % 4 == 0) return p.start / 4;
    return std::nullopt;
  }
  void run(const StepCall& call) const override { slice(call.in[0], call.out, params(call.in[0]), call.pool); }

 private:
  SliceParams params(const Planes& in) const {
    const int64_t axis = slice_.integer("axis");
    const int64_t size = axis == 1 ? in.channels : axis == 2 ? in.height : in.width;
    return {narrow(axis), narrow(slice_range(slice_, size).start), narrow(slice_.integer("step"))};
  }
  Node slice_;  // its attributes
};

class PadStep : public CopyStep {
 public:
  explicit PadStep(const PadParams& params) : params_(params) {}
  std::optional<int64_t> view(std::span<const Planes> in, const Planes& out) const override {
    return whole_if(same_shape(in[0], out));
  }
  void run(const StepCall& call) const override { pad(call.in[0], call.out, params_, call.pool); }

 private:
  PadParams params_;
};

class ReshapeStep : public CopyStep {
 public:
  std::optional<int64_t> view(std::span<const Planes> in, const Planes& out) const override {
    return whole_if(same_shape(in[0], out));
  }
  void run(const StepCall& call) const override { reshape(call.in[0], call.out, call.pool); }
};

class ShuffleStep : public CopyStep {
 public:
  explicit ShuffleStep(int32_t groups) : groups_(groups) {}
  std::optional<int64_t> view(std::span<const Planes> in, const Planes&) const override {
    return whole_if(groups_ == 1 || groups_ == in[0].channels);
  }
  void run(const StepCall& call) const override { channel_shuffle(call.in[0], call.out, groups_, call.pool); }

 private:
  int32_t groups_;
};

class UpsampleStep : public CopyStep {
 public:
  explicit UpsampleStep(const std::vector<int64_t>& scale) : y_(narrow(scale[0])), x_(narrow(scale[1])) {}
  std::optional<int64_t> view(std::span<const Planes>, const Planes&) const override { return whole_if(y_ == 1 && x_ == 1); }
  void run(const StepCall& call) const override { upsample_nearest(call.in[0], call.out, y_, x_, call.pool); }

 private:
  int32_t y_, x_;
};

}  // namespace

std::unique_ptr<Step> make_copy(const Graph& graph, const Node& node) {
  switch (node.op) {
    case Op::concat: return std::make_unique<ConcatStep>();
    case Op::slice: return std::make_unique<SliceStep>(node);
    case Op::pad: {
      const auto& padding = node.integers("padding");
      const int64_t value = node.integer("value") < 0 ? quantization(graph, node.inputs[0]).zero_point : node.integer("value");
      return std::make_unique<PadStep>(
          PadParams{narrow(padding[0]), narrow(padding[2]), narrow(padding[4]), static_cast<uint8_t>(value)});
    }
    case Op::reshape: return std::make_unique<ReshapeStep>();
    case Op::channel_shuffle: return std::make_unique<ShuffleStep>(narrow(node.integer("groups")));
    case Op::upsample_nearest2d: return std::make_unique<UpsampleStep>(node.integers("scale"));
    default: throw Error(Status::internal, node.name + ": not an operator that moves bytes.");
  }
}

}  // namespace niwaki
