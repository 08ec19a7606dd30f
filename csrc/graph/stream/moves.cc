// Moving elements, and what that means for time.
#include <algorithm>
#include <numeric>
#include <utility>

#include "graph/operators.h"
#include "graph/stream/streamer.h"

namespace niwaki {
namespace {

std::string text(int64_t value) { return std::to_string(value); }

int64_t product_of(const Sizes& sizes, size_t begin, size_t end) {
  return std::accumulate(sizes.begin() + static_cast<std::ptrdiff_t>(begin), sizes.begin() + static_cast<std::ptrdiff_t>(end),
                         int64_t{1}, std::multiplies<>());
}

}  // namespace

void Streamer::pad(const Node& node) {
  Flow made = flow(node.inputs[0]);
  const auto at = [&](size_t probe) { return integers(node, "padding", probe)[2 * made.axis]; };
  const int64_t front = at(0);
  if (!constant(at)) refuse(node, "pads the front of the signal by what its length says, which a stream does not know.");
  if (made.ahead + front < 0)
    refuse(node, "drops the first " + text(-front) + " elements of the signal: what follows looks ahead.");
  const Value& value = graph_.value(node.inputs[0]);
  const bool zero_point = value.quantization && integer(node, "q") < 0;
  const double number = zero_point           ? value.quantization->zero_point
                        : value.quantization ? static_cast<double>(integer(node, "q"))
                                             : node.number("value");
  if (front > 0) {
    if (node.word("mode") != "constant")
      refuse(node, "pads the front of the signal with what comes later (" + node.word("mode") + "); pad it with zeros.");
    if (made.ahead > 0 && made.before != number) refuse(node, "pads what is padded already, with other numbers.");
    made.before = number;
  }
  made.ahead += front;
  // What is behind the signal is never reached.
  Attributes with = attributes(node);
  Dims& padding = std::get<Dims>(with.at("padding"));
  padding[2 * made.axis] = padding[2 * made.axis + 1] = 0;
  if (std::any_of(padding.begin(), padding.end(), [](const Dim& dim) { return dim != Dim(0); })) {
    // Along other axes there are other numbers before the signal, then.
    if (node.word("mode") != "constant" || made.before != number) made.before.reset();
    made.value = copy(node, {made.value}, std::move(with));
  }
  set_outputs(node, made.value, made);
}

void Streamer::slice(const Node& node) {
  const Flow& in = flow(node.inputs[0]);
  const auto axis = static_cast<size_t>(integer(node, "axis"));
  if (axis != in.axis) return pass(node);
  const auto length = [&](size_t probe) { return shape(node.inputs[0], probe)[axis]; };
  const auto place = [&](const char* name, size_t probe) {
    const int64_t given = integers(node, name, probe)[0], size = length(probe);
    return std::clamp<int64_t>(given < 0 ? given + size : given, 0, size);
  };
  const int64_t step = integer(node, "step"), start = place("start", 0);
  const auto from_end = [&](size_t probe) { return length(probe) - place("start", probe); };
  const bool starts_there = constant([&](size_t probe) { return place("start", probe); });
  const auto beyond_end = [&](size_t probe) { return length(probe) - place("end", probe); };
  const bool ends_there = beyond_end(0) == 0 && constant(beyond_end);
  if (!time_axis(node.outputs[0])) {  // the last of the signal, which so far is that of the piece
    const int64_t last = from_end(0);
    const bool whole = in.ahead == 0 && length(0) == probes_[0].pieces * in.count;
    if (starts_there || !ends_there || !constant(from_end) || !whole || last > in.count)
      refuse(node, "takes elements of the signal at some places of it; a stream has no places but the last of each piece.");
    set_outputs(node, cut(node.name, in.value, axis, in.count - last, in.count, step), {.kind = Flow::Kind::latest});
    return;
  }
  if (!starts_there) refuse(node, "begins where the length of the signal says, which a stream does not know.");
  if (step == 1 && start <= in.ahead) {
    Flow made = in;
    made.ahead -= start;
    set_outputs(node, in.value, made);
    return;
  }
  if (in.count % step != 0)
    refuse(node, "takes every " + text(step) + " elements, and of its input a piece is " + text(in.count) + ".");
  const int64_t spare = in.ahead - start - 1, rest = ((spare % step) + step) % step, ahead = (spare - rest) / step + 1;
  if (ahead < 0) refuse(node, "drops the first " + text(start) + " elements of the signal: what follows looks ahead.");
  Flow made = in;
  made.value = cut(node.name, in.value, axis, step - 1 - rest, in.count, step);
  made.count = in.count / step;
  made.ahead = ahead;
  set_outputs(node, made.value, made);
}

void Streamer::concat(const Node& node) {
  const auto axis = static_cast<size_t>(integer(node, "axis"));
  const auto flows = [&](int input) { return flow(input).flows(); };
  const int first = *std::find_if(node.inputs.begin(), node.inputs.end(), flows);
  if (axis != flow(first).axis) {
    if (!std::all_of(node.inputs.begin(), node.inputs.end(), flows))
      refuse(node, "puts what is as long as the signal, and the same for every piece, beside the signal.");
    return elementwise(node);
  }
  // As padding: what stands in front of the signal comes before its time.
  if (std::count_if(node.inputs.begin(), node.inputs.end(), flows) != 1) refuse(node, "puts one signal behind another one.");
  Flow made = flow(first);
  for (const int input : node.inputs) {
    if (input == first) break;
    const std::optional<double> number = uniform(input);
    if (!number || (made.ahead > 0 && made.before != number))
      refuse(node,
             "puts elements in front of the signal that are not all the same number; the stream keeps what was before a piece.");
    made.before = number;
    made.ahead += shape(input)[axis];
  }
  set_outputs(node, made.value, made);
}

void Streamer::reshape(const Node& node) {
  Flow in = flow(node.inputs[0]);
  const std::optional<size_t> axis = time_axis(node.outputs[0]);
  const Sizes &from = shape(node.inputs[0]), &to = shape(node.outputs[0]);
  if (!axis || product_of(from, 0, in.axis) != product_of(to, 0, *axis))
    refuse(node,
           "joins time with an axis before it; where that is the batch, give each signal a stream of its own, of a batch of 1.");
  const int64_t inner = product_of(from, in.axis + 1, from.size()), made_inner = product_of(to, *axis + 1, to.size());
  if (inner == 0 || made_inner == 0) refuse(node, "moves a signal of no elements.");
  Flow made = in;
  made.axis = *axis;
  if (made_inner > inner) {  // time is cut into frames
    const int64_t frame = made_inner / inner;
    if (made_inner % inner != 0 || in.count % frame != 0)
      refuse(node, "cuts the signal into frames of " + text(frame) + ", and of its input a piece is " + text(in.count) +
                       " elements; make the pieces a multiple of all frames.");
    in = delayed(node, in, in.ahead / frame * frame);
    made.value = in.value;
    made.count = in.count / frame;
    made.ahead = in.ahead / frame;
  } else if (made_inner < inner) {
    if (inner % made_inner != 0) refuse(node, "joins time with a part of the axes behind it.");
    made.count = in.count * (inner / made_inner);
    made.ahead = in.ahead * (inner / made_inner);
  }
  Attributes with = attributes(node);
  Dims sizes(to.begin(), to.end());
  sizes[*axis] = made.count;
  with.at("shape") = std::move(sizes);
  set_outputs(node, copy(node, {made.value}, std::move(with)), made);
}

void Streamer::expand(const Node& node) {
  const Flow& in = flow(node.inputs[0]);
  Flow made = in;
  const size_t axis = *time_axis(node.outputs[0]);
  if (in.flows()) {
    made.axis = axis;
  } else {  // the same for all times
    made = {.kind = Flow::Kind::flowing, .axis = axis, .count = growth(node.outputs[0], axis), .before = uniform(node.inputs[0])};
  }
  Attributes with = attributes(node);
  Dims sizes(shape(node.outputs[0]).begin(), shape(node.outputs[0]).end());
  sizes[axis] = made.count;
  with.at("shape") = std::move(sizes);
  set_outputs(node, copy(node, {in.value}, std::move(with)), made);
}

void Streamer::permute(const Node& node) {
  const std::vector<int64_t> axes = integers(node, "axes");
  const auto found = std::find(axes.begin(), axes.end(), static_cast<int64_t>(flow(node.inputs[0]).axis));
  pass(node, static_cast<size_t>(found - axes.begin()));
}

void Streamer::upsample(const Node& node) {
  const Flow& in = flow(node.inputs[0]);
  if (in.axis == 1) refuse(node, "has time as its channels.");
  Flow made = in;
  const int64_t scale = in.axis < 2 ? 1 : integers(node, "scale")[in.axis - 2];
  made.count *= scale;
  made.ahead *= scale;
  set_outputs(node, copy(node, {in.value}), made);
}

// Rows of a table, or the same places of each element of time.
void Streamer::take(const Node& node) {
  const auto axis = static_cast<size_t>(integer(node, "axis"));
  const Flow &data = flow(node.inputs[0]), &indices = flow(node.inputs[1]);
  if (data.flows() && indices.flows()) refuse(node, "takes places of the signal that the signal names.");
  if (indices.flows()) {
    Flow made = indices;
    made.axis += axis;
    made.before.reset();
    set_outputs(node, copy(node, inputs_of(node)), made);
    return;
  }
  if (data.axis == axis) refuse(node, "takes elements of the signal at given places; a stream has none.");
  const size_t more = shape(node.inputs[1]).size();
  pass(node, data.axis < axis ? data.axis : data.axis + more - 1);
}

}  // namespace niwaki
