// Windows along time, recurrent layers, running sums: what keeps something of the past.
#include <algorithm>
#include <cmath>
#include <utility>

#include "graph/operators.h"
#include "graph/stream/streamer.h"

namespace niwaki {
namespace {

std::string text(int64_t value) { return std::to_string(value); }

int64_t mod_of(int64_t a, int64_t b) { return (a % b + b) % b; }

}  // namespace

// Of convolutions and pools.
void Streamer::window(const Node& node) {
  const Flow& in = flow(node.inputs[0]);
  if (in.axis == 0) return pass(node);
  if (in.axis == 1) refuse(node, "has time as its channels: it mixes all of the signal.");
  if (node.op == Op::convolution && integer(node, "transposed") != 0) return transposed(node);
  const bool pairs = node.op == Op::convolution || node.op == Op::pool;
  const bool weights = node.op == Op::convolution || node.op == Op::conv2d;
  const size_t axis = in.axis - 2, axes = shape(node.inputs[0]).size() - 2;
  const int64_t kernel = weights ? node.tensor("weight").shape()[in.axis] : integers(node, "kernel")[axis];
  const int64_t dilation = node.has("dilation") ? integers(node, "dilation")[axis] : 1;
  const size_t before = pairs ? 2 * axis : axis, after = pairs ? 2 * axis + 1 : axes + axis;
  TimeWindow along{(kernel - 1) * dilation + 1, integers(node, "stride")[axis], integers(node, "padding")[before]};
  const Value& value = graph_.value(node.inputs[0]);
  if (value.quantization) along.pad = value.quantization->zero_point;
  if (!weights && along.padding > 0)
    refuse(node, "is a pool with padding in front of the signal, which has no streamed form; pad before it.");
  if (!constant([&](size_t probe) { return integers(node, "padding", probe)[before]; }))
    refuse(node, "has as much padding in front of the signal as the length of it says, which a stream does not know.");
  Attributes with = attributes(node);
  std::get<Dims>(with.at("padding"))[before] = 0;
  std::get<Dims>(with.at("padding"))[after] = 0;
  slide(node, along, in.axis, std::move(with));
}

// Element m of the signal adds to outputs stride * m - padding and reach after it. So a piece completes the outputs up to the next piece's first
// element, and what reaches into them are the `context` elements before it.
void Streamer::transposed(const Node& node) {
  const Flow& in = flow(node.inputs[0]);
  const size_t axis = in.axis - 2;
  const int64_t stride = integers(node, "stride")[axis], padding = integers(node, "padding")[2 * axis];
  const int64_t reach = (node.tensor("weight").shape()[in.axis] - 1) * integers(node, "dilation")[axis];
  if (!constant([&](size_t probe) { return integers(node, "padding", probe)[2 * axis]; }))
    refuse(node, "leaves out as much in front of the signal as the length of it says, which a stream does not know.");
  const int64_t ahead = stride * in.ahead - padding, context = reach / stride;
  if (ahead < 0)
    refuse(node, "looks ahead: it leaves out " + text(padding) + " elements in front, and " + text(stride * in.ahead) +
                     " are there before their time; leave none out, and cut the end (a causal transposed convolution).");
  Attributes with = attributes(node);
  Dims& around = std::get<Dims>(with.at("padding"));
  around[2 * axis] = stride * context;
  around[2 * axis + 1] = std::max<int64_t>(0, reach + 1 - stride);
  std::get<Dims>(with.at("output_padding"))[axis] = std::max<int64_t>(0, stride - 1 - reach);
  const int value = context > 0 ? with_context(node, in, context, 0.0) : in.value;
  const Flow made{.kind = Flow::Kind::flowing, .axis = in.axis, .count = stride * in.count, .ahead = ahead};
  set_outputs(node, copy(node, {value}, std::move(with)), made);
}

// Windows of images as columns: of images of one row, which the time is along.
void Streamer::unfold(const Node& node) {
  const Flow& in = flow(node.inputs[0]);
  if (in.axis == 0) return pass(node);
  if (in.axis != 3 || shape(node.inputs[0])[2] != 1 || integers(node, "kernel")[0] != 1 || integers(node, "padding")[0] != 0)
    refuse(node, "takes windows of more than one row of time.");
  const int64_t extent = (integers(node, "kernel")[1] - 1) * integers(node, "dilation")[1] + 1;
  Attributes with = attributes(node);
  std::get<Dims>(with.at("padding"))[1] = 0;
  slide(node, {extent, integers(node, "stride")[1], integers(node, "padding")[1]}, 2, std::move(with));
}

// Window j covers the elements from j * stride - padding. Of those that are complete when a piece has come, the ones that were not before are
// the piece's; they begin `context` elements before it.
void Streamer::slide(const Node& node, const TimeWindow& window, size_t out_axis, Attributes with) {
  const Flow& in = flow(node.inputs[0]);
  const int64_t stride = window.stride;
  if (in.count % stride != 0)
    refuse(node, "has the stride " + text(stride) + " along time, and of its input a piece is " + text(in.count) +
                     " elements; make the pieces a multiple of all strides together.");
  const int64_t spare = in.ahead + window.padding - window.extent, rest = mod_of(spare, stride);
  const int64_t ahead = (spare - rest) / stride + 1, context = window.extent - stride + rest;
  if (ahead < 0)
    refuse(node, "looks ahead: its windows of " + text(window.extent) + " elements with the stride " + text(stride) + " begin " +
                     text(window.padding + in.ahead) + " elements before their time, and must begin " +
                     text(window.extent - stride) + " before it; pad the signal in front (a causal convolution).");
  int value = in.value;
  int64_t size = in.count + context;
  if (context > 0) value = with_context(node, in, context, window.pad);
  if (context < 0) value = cut(node.name, value, in.axis, -context, in.count);
  if (rest > 0 && with.contains("ceil_mode") && std::get<Dims>(with.at("ceil_mode"))[0] != Dim(0)) {
    // Else a last window would begin in what is left.
    value = cut(node.name, value, in.axis, 0, size - rest);
  }
  Flow made{.kind = Flow::Kind::flowing, .axis = out_axis, .count = in.count / stride, .ahead = ahead};
  std::vector<int> inputs{value};
  if (node.inputs.size() > 1 && node.inputs[1] >= 0) {  // a residual
    const Flow& other = flow(node.inputs[1]);
    if (!other.flows() || other.ahead < ahead) refuse(node, "adds what comes later than its own result.");
    inputs.push_back(delayed(node, other, ahead).value);
  }
  set_outputs(node, copy(node, std::move(inputs), std::move(with)), made);
}

void Streamer::recurrent(const Node& node) {
  const size_t steps = integer(node, "batch_first") != 0 ? 1 : 0;
  if (node.inputs.size() > 3 && node.inputs[3] >= 0)
    refuse(node, "takes sequences of different lengths (pack_padded_sequence), and a stream has no end; leave the lengths out.");
  for (size_t i = 1; i < node.inputs.size(); ++i)
    if (node.inputs[i] >= 0 && flow(node.inputs[i]).flows()) refuse(node, "begins with a state that the signal gives.");
  if (!flow(node.inputs[0]).flows() || flow(node.inputs[0]).axis != steps) refuse(node, "does not step along time.");
  if (integer(node, "bidirectional") != 0) refuse(node, "has a second direction, which reads the signal from its end.");
  const Flow in = delayed(node, flow(node.inputs[0]), 0);
  const bool whole = shape(node.inputs[0])[steps] == probes_[0].pieces * in.count;
  std::vector<int> inputs{in.value};
  std::vector<std::pair<int, size_t>> states;  // and which output they become
  for (size_t i = 1; i < node.outputs.size(); ++i) {
    const int given = i < node.inputs.size() ? node.inputs[i] : -1;
    if (given >= 0 && is_from_input(given)) {  // the caller keeps it
      const auto& outputs = graph_.outputs();
      const auto gives = [&](const Port& port) { return holds_only_moved(port.value, node.outputs[i]); };
      const auto takes = [&](const Port& port) { return holds_only_moved(given, port.value); };
      if (std::none_of(graph_.inputs().begin(), graph_.inputs().end(), takes))
        refuse(
            node,
            "begins with a state that is computed of an input, which it would be for each piece anew; make the state an input.");
      if (std::none_of(outputs.begin(), outputs.end(), gives))
        refuse(node, "begins with a state that is an input, and its last one, which the next piece begins with, is no output.");
      inputs.push_back(flow(given).value);
      continue;
    }
    const Sizes& sizes = shape(node.outputs[i]);
    Tensor initial;
    const int maker = given >= 0 ? graph_.value(given).node : -1;
    if (maker >= 0 && graph_.nodes()[static_cast<size_t>(maker)].op == Op::constant) {
      initial = graph_.nodes()[static_cast<size_t>(maker)].tensor("value");
    } else {
      const std::optional<double> number = given >= 0 ? uniform(given) : std::optional<double>(0.0);
      if (!number) refuse(node, "begins with a state that is computed, not given or the same number everywhere.");
      const std::vector<float> values(static_cast<size_t>(elements_of(sizes)), static_cast<float>(*number));
      initial = Tensor::copy_of(DType::f32, sizes, values.data());
    }
    states.emplace_back(add_state(node, i == 1 ? "h" : "c", std::move(initial)), i);
    inputs.push_back(states.back().first);
  }
  const int first = copy(node, std::move(inputs));
  for (const auto& [state, output] : states) made_.set_state(state, first + static_cast<int>(output));
  set_outputs(node, first, {.kind = Flow::Kind::latest});
  flow(node.outputs[0]) = {.kind = Flow::Kind::flowing, .value = first, .axis = steps, .count = in.count};
  // Of a signal with padding behind it, the last state is one that a stream does not come to.
  if (whole) return;
  for (size_t i = 1; i < node.outputs.size(); ++i) flow(node.outputs[i]).value = -1;
}

// The total so far comes first, then a piece. -0 changes no sum, not even that of zeros.
void Streamer::running(const Node& node) {
  if (static_cast<size_t>(integer(node, "axis")) != flow(node.inputs[0]).axis) return pass(node);
  const Flow in = delayed(node, flow(node.inputs[0]), 0);
  const DType dtype = graph_.value(node.inputs[0]).dtype;
  std::vector<int64_t> sizes;
  for (const Dim& dim : made_.value(in.value).dims) sizes.push_back(dim.value());
  sizes[in.axis] = 1;
  const bool sum = node.op == Op::cumsum;
  const auto count = static_cast<size_t>(elements_of(sizes));
  const std::vector<float> floats(count, sum ? -0.0f : 1.0f);
  const std::vector<int64_t> integers(count, sum ? 0 : 1);
  const bool is_float = dtype == DType::f32;
  const int state = add_state(
      node, "total", Tensor::copy_of(dtype, sizes, is_float ? static_cast<const void*>(floats.data()) : integers.data()));
  const int made = copy(node, {join(node.name, state, in.value, in.axis)});
  made_.set_state(state, cut(node.name, made, in.axis, in.count, in.count + 1));
  Flow out = in;
  out.before.reset();
  set_outputs(node, cut(node.name, made, in.axis, 1, in.count + 1), out);
}

}  // namespace niwaki
