#include "graph/shapes.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/status.h"
#include "graph/operators.h"
#include "graph/phases.h"

namespace niwaki {
namespace {

constexpr int64_t kInt32 = std::numeric_limits<int32_t>::max();

std::string text(int64_t value) { return std::to_string(value); }

std::string text(const std::vector<int64_t>& sizes) {
  std::string out = "[";
  for (size_t i = 0; i < sizes.size(); ++i) out += (i > 0 ? ", " : "") + text(sizes[i]);
  return out + "]";
}

void expect_channels(const Node& node, const Shape& in, int64_t expected, const char* what) {
  if (in.channels != expected)
    refuse(node, std::string(what) + " has " + text(in.channels) + " channels; " + text(expected) + " are expected.");
}

// Output size of a sliding window, floor or ceil, as torch counts it; at least 1, or the window does not fit.
struct Window {
  int64_t kernel, stride, dilation, before, after;
  bool ceil;

  int64_t count(const Node& node, int64_t size, const char* axis) const {
    const int64_t room = size + before + after - dilation * (kernel - 1) - 1;
    int64_t count = room < 0 ? 0 : (room + (ceil ? stride - 1 : 0)) / stride + 1;
    // With ceil a last window may begin beyond the image; torch drops it.
    if (ceil && count > 0 && (count - 1) * stride >= size + before) --count;
    if (count < 1)
      refuse(node, "an image " + text(size) + " pixels " + axis + " is too small for its kernel of " +
                       text(dilation * (kernel - 1) + 1) + " pixels.");
    return count;
  }

  // A pool needs at least one pixel of the image in every window.
  void must_touch(const Node& node, int64_t size, int64_t count, const char* axis) const {
    // Of the windows that begin in the image, the last one goes farthest.
    for (int64_t i = 0; i < count; i = i * stride < before ? i + 1 : std::max(i + 1, count - 1)) {
      const int64_t start = i * stride - before;
      const int64_t skipped = start < 0 ? (-start + dilation - 1) / dilation : 0;  // taps before the image
      if (skipped >= kernel || start + skipped * dilation >= size)
        refuse(node, "a window lies wholly in the padding for images " + text(size) + " pixels " + axis + ".");
    }
  }
};

Window vertical(const Node& node, int64_t kernel) {
  const auto& padding = node.integers("padding");
  const bool dilated = node.attributes.contains("dilation"),
             ceil = node.attributes.contains("ceil_mode") && node.integer("ceil_mode") != 0;
  return {kernel, node.integers("stride")[0], dilated ? node.integers("dilation")[0] : 1, padding[0], padding[2], ceil};
}

Window horizontal(const Node& node, int64_t kernel) {
  const auto& padding = node.integers("padding");
  const bool dilated = node.attributes.contains("dilation"),
             ceil = node.attributes.contains("ceil_mode") && node.integer("ceil_mode") != 0;
  return {kernel, node.integers("stride")[1], dilated ? node.integers("dilation")[1] : 1, padding[1], padding[3], ceil};
}

// 255 times as many pixels must fit int32.
void check_average(const Node& node, int64_t pixels) {
  if (pixels > kInt32 / 255)
    refuse(node, "averages " + text(pixels) + " pixels; more than " + text(kInt32 / 255) + " could overflow int32.");
}

Shape infer_conv2d(const Node& node, std::span<const Shape> in) {
  const auto& weight = node.tensor("weight").shape();
  expect_channels(node, in[0], weight[1] * node.integer("groups"), "its input");
  const Shape out{4, in[0].images, weight[0], vertical(node, weight[2]).count(node, in[0].height, "high"),
                  horizontal(node, weight[3]).count(node, in[0].width, "wide")};
  if (in.size() > 1 && in[1] != out)
    refuse(node, "the residual is " + text(in[1].sizes()) + " and the output " + text(out.sizes()) + ".");
  return out;
}

Shape infer_linear(const Node& node, std::span<const Shape> in) {
  const auto& weight = node.tensor("weight").shape();
  expect_channels(node, in[0], weight[1], "its input");
  const Shape out{2, in[0].images, weight[0], 1, 1};
  if (in.size() > 1 && in[1] != out)
    refuse(node, "the residual is " + text(in[1].sizes()) + " and the output " + text(out.sizes()) + ".");
  return out;
}

Shape infer_pool(const Node& node, const Shape& in) {
  const Window rows = vertical(node, node.integers("kernel")[0]), columns = horizontal(node, node.integers("kernel")[1]);
  const Shape out{4, in.images, in.channels, rows.count(node, in.height, "high"), columns.count(node, in.width, "wide")};
  rows.must_touch(node, in.height, out.height, "high");
  columns.must_touch(node, in.width, out.width, "wide");
  if (node.op == Op::avg_pool2d) check_average(node, rows.kernel * columns.kernel);
  return out;
}

Shape infer_adaptive(const Node& node, const Shape& in) {
  const auto& size = node.integers("size");
  check_average(node, ((in.height + size[0] - 1) / size[0] + 1) * ((in.width + size[1] - 1) / size[1] + 1));
  return {4, in.images, in.channels, size[0], size[1]};
}

Shape infer_pair(const Node& node, const Shape& a, const Shape& b) {
  const bool scales =
      node.op == Op::mul && b.rank == a.rank && b.images == a.images && b.channels == a.channels && b.height == 1 && b.width == 1;
  if (a != b && !scales)
    refuse(node, "its inputs are " + text(a.sizes()) + " and " + text(b.sizes()) + "; they must be the same.");
  return a;
}

Shape infer_concat(const Node& node, std::span<const Shape> in) {
  Shape out = in[0];
  for (const Shape& part : in.subspan(1)) {
    if (part.rank != out.rank || part.images != out.images || part.height != out.height || part.width != out.width)
      refuse(node,
             "its inputs are " + text(in[0].sizes()) + " and " + text(part.sizes()) + "; they may only differ in channels.");
    out.channels += part.channels;
  }
  return out;
}

Shape infer_slice(const Node& node, Shape out) {
  int64_t& size = node.integer("axis") == 1 ? out.channels : node.integer("axis") == 2 ? out.height : out.width;
  const int64_t count = slice_range(node, size).count;
  if (count < 1) refuse(node, "selects nothing of an axis of " + text(size) + " elements.");
  size = count;
  return out;
}

Shape infer_reshape(const Node& node, const Shape& in) {
  std::vector<int64_t> sizes = node.integers("shape");
  const int64_t total = in.channels * in.height * in.width;
  int64_t known = 1;
  for (int64_t size : sizes) {
    if (size != -1) known = size > total / known ? total + 1 : known * size;  // total + 1: too many, without overflow
  }
  for (int64_t& size : sizes) {
    if (size == -1) {
      if (total % known != 0) known = 0;
      size = known == 0 ? 0 : total / known;
      known *= size;
    }
  }
  if (known != total || std::find(sizes.begin(), sizes.end(), 0) != sizes.end())
    refuse(node, "cannot give the " + text(total) + " elements of an image the shape " + text(node.integers("shape")) + ".");
  if (sizes.size() == 1) return {2, in.images, sizes[0], 1, 1};
  return {4, in.images, sizes[0], sizes[1], sizes[2]};
}

void check_size(const Node& node, const Shape& out) {
  const int64_t largest = std::max({out.images, out.channels, out.height, out.width});
  // Rising products, each below 2^62, so that none can overflow.
  const bool fits = largest <= kInt32 && out.height * out.width <= kInt32 &&
                    out.height * out.width * std::max<int64_t>(out.images, 1) <= kInt32;
  if (!fits)
    refuse(node, "its output " + text(out.sizes()) +
                     " is too large: a channel may have 2^31 - 1 pixels over all images. Use smaller batches.");
}

Shape input_shape(const Graph& graph, const Port& port, const std::vector<int64_t>& sizes) {
  const Value& value = graph.value(port.value);
  const std::string wanted = value.rank == 4 ? "[N, " + text(value.channels) + ", H, W]" : "[N, " + text(value.channels) + "]";
  const std::string start = "Input '" + port.name + "' must have the shape " + wanted + ", not " + text(sizes);
  if (sizes.size() != static_cast<size_t>(value.rank) || sizes[1] != value.channels)
    throw Error(Status::invalid_argument, start + ".");
  for (size_t i = 0; i < sizes.size(); ++i)
    if (sizes[i] < (i == 0 ? 0 : 1) || sizes[i] > kInt32) throw Error(Status::invalid_argument, start + ": only N may be 0.");
  Shape shape{value.rank, sizes[0], sizes[1], 1, 1};
  if (value.rank == 4) shape.height = sizes[2], shape.width = sizes[3];
  if (shape.height * shape.width > kInt32 / std::max<int64_t>(shape.images, 1))
    throw Error(Status::invalid_argument, start + ": a channel may have 2^31 - 1 pixels over all images. Use smaller batches.");
  return shape;
}

}  // namespace

std::vector<int64_t> Shape::sizes() const {
  if (rank == 2) return {images, channels};
  return {images, channels, height, width};
}

SliceRange slice_range(const Node& slice, int64_t size) {
  auto position = [&](int64_t at) { return std::clamp(at < 0 ? at + size : at, int64_t{0}, size); };
  const int64_t start = position(slice.integer("start")), end = position(slice.integer("end")), step = slice.integer("step");
  return {start, end > start ? (end - start + step - 1) / step : 0};
}

int64_t count_macs(const Node& node, const Shape& output) {
  if (node.op != Op::conv2d && node.op != Op::linear) return 0;
  return output.pixels() * original_weights(node);
}

Shape infer_shape(const Node& node, std::span<const Shape> in) {
  const auto result = [&]() -> Shape {
    switch (node.op) {
      case Op::quantize:
        if (!node.attributes.contains("phases")) return in[0];
        return {4, in[0].images, in[0].channels * 4, (in[0].height + 1) / 2, (in[0].width + 1) / 2};
      case Op::dequantize:
      case Op::clamp:
      case Op::table: return in[0];
      case Op::conv2d: return infer_conv2d(node, in);
      case Op::linear: return infer_linear(node, in);
      case Op::max_pool2d:
      case Op::avg_pool2d: return infer_pool(node, in[0]);
      case Op::adaptive_avg_pool2d: return infer_adaptive(node, in[0]);
      case Op::add:
      case Op::mul: return infer_pair(node, in[0], in[1]);
      case Op::concat: return infer_concat(node, in);
      case Op::slice: return infer_slice(node, in[0]);
      case Op::pad: {
        const auto& p = node.integers("padding");
        return {in[0].rank, in[0].images, in[0].channels + p[0] + p[1], in[0].height + p[2] + p[3], in[0].width + p[4] + p[5]};
      }
      case Op::reshape: return infer_reshape(node, in[0]);
      case Op::channel_shuffle:
        if (in[0].channels % node.integer("groups") != 0)
          refuse(node,
                 "its " + text(in[0].channels) + " channels do not divide into " + text(node.integer("groups")) + " groups.");
        return in[0];
      case Op::upsample_nearest2d: {
        const auto& scale = node.integers("scale");
        return {4, in[0].images, in[0].channels, in[0].height * scale[0], in[0].width * scale[1]};
      }
    }
    throw Error(Status::internal, describe(node) + ": no rule for its shape.");
  }();
  check_size(node, result);
  return result;
}

std::vector<Shape> infer_shapes(const Graph& graph, std::span<const std::vector<int64_t>> inputs) {
  if (inputs.size() != graph.inputs().size())
    throw Error(Status::invalid_argument, "The network takes " + text(static_cast<int64_t>(graph.inputs().size())) +
                                              " inputs, not " + text(static_cast<int64_t>(inputs.size())) + ".");
  std::vector<Shape> shapes(graph.values().size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Port& port = graph.inputs()[i];
    shapes[static_cast<size_t>(port.value)] = input_shape(graph, port, inputs[i]);
  }
  std::vector<Shape> arguments;
  for (const Node& node : graph.nodes()) {
    arguments.clear();
    for (int value : node.inputs) arguments.push_back(shapes[static_cast<size_t>(value)]);
    shapes[static_cast<size_t>(node.output)] = infer_shape(node, arguments);
  }
  return shapes;
}

}  // namespace niwaki
