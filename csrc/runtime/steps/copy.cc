// Operators that only move bytes of grouped values. Many need not even that: they are views of their input, or their inputs were written
// in place.
#include <algorithm>
#include <optional>
#include <utility>

#include "base/status.h"
#include "graph/operators.h"
#include "kernels/copy/copy.h"
#include "kernels/movement/strided.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

std::optional<int64_t> whole_if(bool whole) { return whole ? std::optional<int64_t>(0) : std::nullopt; }

// Whether the same bytes are both values' elements in row-major order.
bool same_order(const Planes& a, const Planes& b) {
  return a.channels == b.channels && a.pixels() == b.pixels() && (a.images == b.images || a.channels == 1);
}

// Of the pixels of a value that is grouped over `grouped`: an axis that is not that one.
PixelAxis pixel_axis(const Sizes& shape, int grouped, int64_t axis) {
  PixelAxis result{1, shape[static_cast<size_t>(axis)], 1};
  for (int64_t i = 0; i < static_cast<int64_t>(shape.size()); ++i)
    if (i != grouped && i != axis) (i < axis ? result.outer : result.inner) *= shape[static_cast<size_t>(i)];
  return result;
}

class CopyStep : public Step {
 public:
  CopyStep() {
    info.kernel = "copy";
    info.scheme = "move";
  }
};

class ConcatStep : public CopyStep {
 public:
  ConcatStep(int64_t axis, int grouped) : axis_(axis), grouped_(grouped) {}

  std::optional<int64_t> view(const StepSizes& sizes) const override { return whole_if(sizes.in.size() == 1); }

  // Along channels: a part that begins inside a group cannot be written in place, nor can the rest then.
  std::vector<int64_t> places(const StepSizes& sizes) const override {
    std::vector<int64_t> result;
    int64_t channels = 0;
    for (const Array& part : sizes.in) {
      if (axis_ != grouped_ || channels % 4 != 0) return {};
      result.push_back(channels / 4 * sizes.out[0].planes.group_stride);
      channels += part.planes.channels;
    }
    return result;
  }

  void run(const StepCall& call) const override {
    const Planes& out = call.out[0].planes;
    std::vector<Planes> parts;
    for (const Array& part : call.in) parts.push_back(part.planes);
    if (axis_ != grouped_) {
      std::vector<int64_t> sizes;
      for (const Array& part : call.in) sizes.push_back(part.dims[static_cast<size_t>(axis_)]);
      concat_pixels(parts, sizes, out, pixel_axis(call.out[0].dims, grouped_, axis_), call.pool);
      return;
    }
    bool placed = false;
    int64_t channels = 0;
    for (const Planes& part : parts) {
      placed = placed || part.data == out.group(channels / 4);
      channels += part.channels;
    }
    if (!placed) return concat_channels(parts, out, call.pool);
    // Parts are only placed where every part begins with a group; the others are copied one by one.
    channels = 0;
    for (const Planes& part : parts) {
      Planes place = out;
      place.data = out.group(channels / 4);
      place.channels = part.channels;
      if (part.data != place.data) concat_channels({&part, 1}, place, call.pool);
      channels += part.channels;
    }
  }

 private:
  int64_t axis_;
  int grouped_;
};

class SliceStep : public CopyStep {
 public:
  SliceStep(int64_t axis, int64_t step, int grouped) : axis_(axis), step_(step), grouped_(grouped) {}

  std::optional<int64_t> view(const StepSizes& sizes) const override {
    if (sizes.in[0].dims == sizes.out[0].dims) return 0;
    const int64_t start = first(sizes.in[0], sizes.attributes);
    if (axis_ == grouped_ && step_ == 1 && start % 4 == 0) return start / 4 * sizes.in[0].planes.group_stride;
    return std::nullopt;
  }

  void run(const StepCall& call) const override {
    const Array &in = call.in[0], &out = call.out[0];
    const int64_t start = first(in, call.attributes);
    if (axis_ == grouped_) return slice_channels(in.planes, out.planes, start, step_, call.pool);
    slice_pixels(in.planes, out.planes, pixel_axis(in.dims, grouped_, axis_), start, step_, out.dims[static_cast<size_t>(axis_)],
                 call.pool);
  }

 private:
  int64_t first(const Array& in, const Attributes& attributes) const {
    const int64_t size = in.dims[static_cast<size_t>(axis_)], start = integer(attributes, "start");
    return std::clamp(start < 0 ? start + size : start, int64_t{0}, size);
  }
  int64_t axis_, step_;
  int grouped_;
};

class PadStep : public CopyStep {
 public:
  PadStep(uint8_t value, int grouped) : value_(value), grouped_(grouped) {}

  std::optional<int64_t> view(const StepSizes& sizes) const override { return whole_if(sizes.in[0].dims == sizes.out[0].dims); }

  void run(const StepCall& call) const override {
    const Array &in = call.in[0], &out = call.out[0];
    const std::vector<int64_t> padding = integers(call.attributes, "padding");
    PadParams params{padding[static_cast<size_t>(grouped_) * 2], {}, value_};
    for (size_t axis = 0; axis < in.dims.size(); ++axis)
      if (static_cast<int>(axis) != grouped_) params.axes.push_back({in.dims[axis], out.dims[axis], padding[axis * 2]});
    if (params.axes.empty()) params.axes.push_back({1, 1, 0});
    pad(in.planes, out.planes, params, call.pool);
  }

 private:
  uint8_t value_;
  int grouped_;
};

// Between groups over any axes, and between groups and rows.
class ReshapeStep : public CopyStep {
 public:
  std::optional<int64_t> view(const StepSizes& sizes) const override {
    const Array &in = sizes.in[0], &out = sizes.out[0];
    return whole_if(in.grouped() && out.grouped() && same_order(in.planes, out.planes));
  }
  void run(const StepCall& call) const override {
    const Array &in = call.in[0], &out = call.out[0];
    if (in.grouped() && out.grouped()) reshape(in.planes, out.planes, call.pool);
    else if (in.grouped()) reshape_to_rows(in.planes, out.as<uint8_t>(), call.pool);
    else reshape_from_rows(in.as<uint8_t>(), out.planes, call.pool);
  }
};

class PermuteStep : public CopyStep {
 public:
  PermuteStep(std::vector<int64_t> axes, int in_grouped, int out_grouped)
      : axes_(std::move(axes)), in_grouped_(in_grouped), out_grouped_(out_grouped) {}

  // The pixels keep their order: the axes of more than one element, without the channels, do.
  std::optional<int64_t> view(const StepSizes& sizes) const override {
    const Sizes& dims = sizes.in[0].dims;
    if (in_grouped_ < 0 || out_grouped_ < 0) return std::nullopt;
    if (!dims.empty() && axes_[static_cast<size_t>(out_grouped_)] != in_grouped_) return std::nullopt;
    int64_t before = -1;
    for (const int64_t axis : axes_) {
      if (axis == in_grouped_ || dims[static_cast<size_t>(axis)] == 1) continue;
      if (axis < before) return std::nullopt;
      before = axis;
    }
    return 0;
  }

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override {
    if (auto lanes = lanes_of(sizes)) return lanes;
    auto setup = std::make_unique<Setup>();
    const Offsets from = offsets(sizes.in[0], in_grouped_);
    for (const int64_t axis : axes_) setup->from.push_back(from[static_cast<size_t>(axis)]);
    setup->to = offsets(sizes.out[0], out_grouped_);
    return setup;
  }

  void run(const StepCall& call) const override {
    const auto& setup = static_cast<const Setup&>(*call.setup);
    if (setup.lanes) return setup.lanes->run(bytes(call.in[0]), bytes(call.out[0]), call.pool);
    copy_elements(bytes(call.in[0]), setup.from, bytes(call.out[0]), setup.to, call.pool);
  }

 private:
  struct Setup : StepSetup {
    std::optional<StridedCopy> lanes;
    Offsets from, to;  // along the axes of the output, where no lanes are copied
    int64_t bytes() const override {
      int64_t count = 0;
      for (const auto& table : to) count += static_cast<int64_t>(table.size());
      return 2 * count * static_cast<int64_t>(sizeof(int64_t));
    }
  };
  // Where the channels stay the channels, pixels change places as a whole.
  std::unique_ptr<Setup> lanes_of(const StepSizes& sizes) const {
    const Array &in = sizes.in[0], &out = sizes.out[0];
    if (!in.grouped() || !out.grouped() || out.dims.empty() || axes_[static_cast<size_t>(out_grouped_)] != in_grouped_)
      return nullptr;
    const Sizes from = pixel_steps(in.dims, in_grouped_), to = pixel_steps(out.dims, out_grouped_);
    StridedCopy lanes(4);
    lanes.add({in.planes.groups(), in.planes.group_stride, out.planes.group_stride});
    for (size_t i = 0; i < axes_.size(); ++i)
      if (static_cast<int>(i) != out_grouped_) lanes.add({out.dims[i], from[static_cast<size_t>(axes_[i])], to[i]});
    lanes.simplify();
    auto setup = std::make_unique<Setup>();
    setup->lanes = lanes;
    return setup;
  }
  // Bytes from one pixel to the next along each axis.
  static Sizes pixel_steps(const Sizes& dims, int grouped) {
    Sizes steps(dims.size(), 0);
    int64_t step = 4;
    for (size_t i = dims.size(); i-- > 0;) {
      if (static_cast<int>(i) == grouped) continue;
      steps[i] = step;
      step *= dims[i];
    }
    return steps;
  }
  static Offsets offsets(const Array& array, int grouped) {
    return array.grouped() ? grouped_offsets(array.dims, grouped, array.planes.group_stride) : row_major_offsets(array.dims);
  }
  static uint8_t* bytes(const Array& array) { return array.grouped() ? array.planes.data : array.as<uint8_t>(); }

  std::vector<int64_t> axes_;
  int in_grouped_, out_grouped_;
};

class ShuffleStep : public CopyStep {
 public:
  explicit ShuffleStep(int32_t groups) : groups_(groups) {}
  std::optional<int64_t> view(const StepSizes& sizes) const override {
    return whole_if(groups_ == 1 || groups_ == sizes.in[0].planes.channels);
  }
  void run(const StepCall& call) const override { channel_shuffle(call.in[0].planes, call.out[0].planes, groups_, call.pool); }

 private:
  int32_t groups_;
};

class PixelShuffleStep : public CopyStep {
 public:
  explicit PixelShuffleStep(const std::vector<int64_t>& factors) : rows_(narrow(factors[0])), columns_(narrow(factors[1])) {}
  std::optional<int64_t> view(const StepSizes&) const override { return whole_if(rows_ == 1 && columns_ == 1); }
  void run(const StepCall& call) const override {
    pixel_shuffle(call.in[0].planes, call.out[0].planes, rows_, columns_, call.pool);
  }

 private:
  int32_t rows_, columns_;
};

class UpsampleStep : public CopyStep {
 public:
  explicit UpsampleStep(const std::vector<int64_t>& scale) : y_(narrow(scale[0])), x_(narrow(scale[1])) {}
  std::optional<int64_t> view(const StepSizes&) const override { return whole_if(y_ == 1 && x_ == 1); }
  void run(const StepCall& call) const override { upsample_nearest(call.in[0].planes, call.out[0].planes, y_, x_, call.pool); }

 private:
  int32_t y_, x_;
};

}  // namespace

std::unique_ptr<Step> make_copy(const StepMaker& maker) {
  const Node& node = maker.node;
  const int in = maker.axes[static_cast<size_t>(node.inputs[0])], out = maker.axes[static_cast<size_t>(node.outputs[0])];
  const auto axis = [&] { return from_front(node.integer("axis"), maker.graph.value(node.inputs[0]).rank()); };
  switch (node.op) {
    case Op::concat: return std::make_unique<ConcatStep>(axis(), out);
    case Op::slice: return std::make_unique<SliceStep>(axis(), node.integer("step"), out);
    case Op::pad: {
      const int64_t q = node.integer("q") < 0 ? quantization(maker.graph, node.inputs[0]).zero_point : node.integer("q");
      return std::make_unique<PadStep>(static_cast<uint8_t>(q), out);
    }
    case Op::reshape: return std::make_unique<ReshapeStep>();
    case Op::permute: return std::make_unique<PermuteStep>(node.integers("axes"), in, out);
    case Op::channel_shuffle: return std::make_unique<ShuffleStep>(narrow(node.integer("groups")));
    case Op::pixel_shuffle: return std::make_unique<PixelShuffleStep>(node.integers("factors"));
    case Op::upsample_nearest2d: return std::make_unique<UpsampleStep>(node.integers("scale"));
    default: throw Error(Status::internal, describe(node) + ": not an operator that moves bytes.");
  }
}

}  // namespace niwaki
