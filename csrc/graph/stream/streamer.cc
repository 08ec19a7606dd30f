#include "graph/stream/streamer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/status.h"
#include "graph/operators.h"

namespace niwaki {
namespace {

constexpr int64_t kLongest = std::numeric_limits<int32_t>::max();  // of any dim

std::string text(int64_t value) { return std::to_string(value); }

[[noreturn]] void fail(const std::string& message) { throw Error(Status::invalid_argument, message); }

}  // namespace

Streamer::Streamer(const Graph& graph, const StreamOptions& options)
    : graph_(graph), options_(options), flows_(graph.values().size()) {}

void Streamer::refuse(const Node& node, const std::string& why) const {
  fail("The network can't be streamed: " + describe(node) + " " + why);
}

void Streamer::check_options() const {
  if (options_.piece < 1) fail("A piece of a stream has 1 element or more, not " + text(options_.piece) + ".");
  if (options_.others.contains(options_.size))
    fail("The signal runs along '" + options_.size + "', of which each piece has " + text(options_.piece) +
         "; give no other size for it.");
  const std::vector<std::string> names = graph_.size_names();
  for (const auto& [name, value] : options_.others) {
    if (std::find(names.begin(), names.end(), name) == names.end()) fail("The network has no free size '" + name + "'.");
    if (value < 1) fail("The size '" + name + "' must be 1 or more, not " + text(value) + ".");
  }
  for (const FreeSize& size : graph_.sizes())
    if (size.name != options_.size && !options_.others.contains(size.name))
      fail("The size '" + size.name + "' is free; a stream needs to know what it is.");
}

Sizes Streamer::sizes_of(int64_t pieces) const {
  Sizes sizes;
  for (const FreeSize& size : graph_.sizes())
    sizes.push_back(size.name == options_.size ? pieces * options_.piece : options_.others.at(size.name));
  return sizes;
}

Streamer::Probe Streamer::probe(int64_t pieces) const {
  const Sizes sizes = sizes_of(pieces);
  std::vector<Sizes> inputs;
  for (const Port& port : graph_.inputs()) {
    inputs.emplace_back();
    for (const Dim& dim : graph_.value(port.value).dims) inputs.back().push_back(dim.evaluate(sizes));
  }
  return {pieces, infer_shapes(graph_, inputs)};
}

// Three lengths tell what grows with the signal, and how. Short ones may be less than what the network takes. Another one, as long as any may
// be, tells whether that goes on: a crop to the first minute is none of shorter signals.
void Streamer::find_probes() {
  constexpr int64_t kFirst = 5, kLast = 1 << 14;
  for (int64_t pieces = kFirst;; pieces *= 8) {
    try {
      probes_ = {probe(pieces), probe(pieces + 1), probe(pieces + 3), Probe{}};
      break;
    } catch (const Error&) {
      if (pieces * 8 > kLast) throw;
    }
  }
  check_endless();
  for (int64_t pieces = kLongest / options_.piece;; pieces /= 2) {
    try {
      probes_[3] = probe(std::max(pieces, probes_[2].pieces));
      return;
    } catch (const Error&) {  // some value would be too large
      if (pieces <= probes_[2].pieces) throw;
    }
  }
}

// A stream may go on for ever, so the network must take a signal of any length.
void Streamer::check_endless() const {
  const FreeSize& along = graph_.sizes()[size_];
  if (along.high < kLongest)
    fail("The network can't be streamed: it takes signals of at most " + text(along.high) + " along '" + along.name +
         "', and a stream has no end.");
  for (int64_t pieces = probes_[2].pieces; pieces <= kLongest / options_.piece; pieces = 2 * pieces + 1)
    for (const Guard& guard : graph_.guards())
      if (!holds(guard, sizes_of(pieces))) fail("The network can't be streamed, for a stream has no end: " + guard.message);
}

std::optional<size_t> Streamer::time_axis(int value) const {
  std::optional<size_t> found;
  for (size_t axis = 0; axis < shape(value).size(); ++axis) {
    if (constant([&](size_t probe) { return shape(value, probe)[axis]; })) continue;
    if (found) return shape(value).size();  // two of them
    found = axis;
  }
  return found;
}

int64_t Streamer::growth(int value, size_t axis) const {
  const int64_t each = shape(value, 1)[axis] - shape(value, 0)[axis];
  const auto rest = [&](size_t probe) { return shape(value, probe)[axis] - probes_[probe].pieces * each; };
  return each > 0 && constant(rest) ? each : -1;
}

const Attributes& Streamer::attributes(const Node& node, size_t probe) const {
  return *probes_[probe].inferred.attributes[static_cast<size_t>(&node - graph_.nodes().data())];
}

bool Streamer::attributes_vary(const Node& node) const {
  return !constant([&](size_t probe) -> const Attributes& { return attributes(node, probe); });
}

std::vector<int64_t> Streamer::integers(const Node& node, const char* name, size_t probe) const {
  std::vector<int64_t> values;
  for (const Dim& dim : std::get<Dims>(attributes(node, probe).at(name))) values.push_back(dim.value());
  return values;
}

int Streamer::copy(const Node& node, std::vector<int> inputs, Attributes with) {
  std::vector<std::optional<Quantization>> quantizations;
  for (const int output : node.outputs) quantizations.push_back(graph_.value(output).quantization);
  return made_.add_node(node.op, node.name, std::move(inputs), std::move(with), node.tensors, std::move(quantizations));
}

std::vector<int> Streamer::inputs_of(const Node& node) const {
  std::vector<int> inputs;
  for (const int input : node.inputs) inputs.push_back(input < 0 ? -1 : flow(input).value);
  return inputs;
}

void Streamer::set_outputs(const Node& node, int first, Flow like) {
  for (const int output : node.outputs) {
    like.value = first++;
    flow(output) = like;
  }
}

void Streamer::add_inputs() {
  for (const Port& port : graph_.inputs()) {
    const Value& value = graph_.value(port.value);
    const std::optional<size_t> axis = time_axis(port.value);
    Dims dims(shape(port.value).begin(), shape(port.value).end());
    Flow& made = flow(port.value);
    if (axis) {
      const bool two = *axis == dims.size();
      const int64_t count = two ? -1 : growth(port.value, *axis);
      if (two || shape(port.value)[*axis] != probes_[0].pieces * count)
        fail("The network can't be streamed: of its input '" + port.name + "' a piece of " + text(options_.piece) + " along '" +
             options_.size + "' is no part of the same length.");
      dims[*axis] = count;
      made = {.kind = Flow::Kind::flowing, .axis = *axis, .count = count};
    }
    made.value = made_.add_input(port.name, value.dtype, dims);
  }
}

// What a whole signal has of a value must be there, or its end has been cut off and what follows would see padding there. Elements that are there
// before their time may wait for it.
void Streamer::check(const Node& node) {
  for (const int output : node.outputs) {
    Flow& made = flow(output);
    const std::optional<size_t> axis = time_axis(output);
    if (!made.flows()) {
      if (axis) refuse(node, "makes as many elements as the signal has of what is the same for every piece.");
      continue;
    }
    if (!axis || *axis != made.axis || growth(output, made.axis) != made.count)
      refuse(node, "makes another number of elements of the whole signal than of its pieces together.");
    const int64_t lacks = probes_[0].pieces * made.count + made.ahead - shape(output)[made.axis];
    if (lacks > 0 && lacks <= made.ahead) made = delayed(node, made, made.ahead - lacks);
    else if (lacks > 0)
      refuse(node, "leaves out the last " + text(lacks) + " elements of the signal, which a stream can't know to be the last.");
  }
}

void Streamer::add(size_t index) {
  const Node& node = graph_.nodes()[index];
  bool flows = false, latest = false, grows = false;
  for (const int input : node.inputs) {
    if (input < 0) continue;
    if (flow(input).value < 0)
      refuse(node, "takes the last state of a signal that is padded at its end, where a stream never comes.");
    flows = flows || flow(input).kind == Flow::Kind::flowing;
    latest = latest || flow(input).kind == Flow::Kind::latest;
  }
  for (const int output : node.outputs) {
    const std::optional<size_t> axis = time_axis(output);
    grows = grows || axis;
    if (axis && *axis == shape(output).size())
      refuse(node, "makes a value of which two axes grow with the signal: each part of it is compared with each other one.");
  }
  if (flows && latest) refuse(node, "takes what the whole signal gives together with the signal.");
  if (flows) {
    flowing(node);
  } else if (grows && !latest && node.op == Op::full) {
    const size_t axis = *time_axis(node.outputs[0]);
    const int64_t count = growth(node.outputs[0], axis);
    Attributes with = attributes(node);
    std::get<Dims>(with.at("shape"))[axis] = count;
    const int made = copy(node, {}, std::move(with));
    set_outputs(node, made, {.kind = Flow::Kind::flowing, .axis = axis, .count = count, .before = node.number("value")});
  } else if (grows && !latest && node.op == Op::expand) {
    expand(node);
  } else {
    if (grows || attributes_vary(node)) refuse(node, "depends on how long the whole signal is.");
    set_outputs(node, copy(node, inputs_of(node)), {.kind = latest ? Flow::Kind::latest : Flow::Kind::fixed});
  }
  check(node);
}

void Streamer::add_outputs() {
  for (const Port& port : graph_.outputs()) {
    Flow made = flow(port.value);
    if (made.value < 0)
      fail("The network can't be streamed: its output '" + port.name +
           "' is the last state of a signal that is padded at its end.");
    if (made.flows()) {
      const int64_t more = shape(port.value)[made.axis] - probes_[0].pieces * made.count;
      if (more != 0)
        fail("The network can't be streamed: its output '" + port.name + "' has " + text(std::abs(more)) + " elements " +
             (more > 0 ? "more" : "fewer") + " of a whole signal than of its pieces together.");
      const int node = graph_.value(port.value).node;
      if (made.ahead > 0) made = delayed(graph_.nodes()[static_cast<size_t>(node)], made, 0);
    }
    made_.add_output(made.value, port.name);
  }
}

// Those that an output needs. Others may be left of code that asked for a shape.
std::vector<bool> Streamer::needed_nodes() const {
  std::vector<bool> needed(graph_.nodes().size(), false);
  const auto need = [&](int value) {
    if (value >= 0 && graph_.value(value).node >= 0) needed[static_cast<size_t>(graph_.value(value).node)] = true;
  };
  for (const Port& port : graph_.outputs()) need(port.value);
  for (size_t i = needed.size(); i-- > 0;)
    if (needed[i]) std::for_each(graph_.nodes()[i].inputs.begin(), graph_.nodes()[i].inputs.end(), need);
  return needed;
}

Graph Streamer::run() {
  if (!graph_.states().empty())
    fail("The network keeps state '" + graph_.states()[0].name + "' already: it is fed in pieces as it is.");
  const auto& sizes = graph_.sizes();
  const auto found = std::find_if(sizes.begin(), sizes.end(), [&](const FreeSize& size) { return size.name == options_.size; });
  if (found == sizes.end()) {
    std::string names;
    for (const FreeSize& size : sizes) names += (names.empty() ? "" : ", ") + size.name;
    fail("The network has no free size '" + options_.size + "' along which it could be streamed; " +
         (names.empty() ? "none is free." : "free are: " + names + "."));
  }
  size_ = static_cast<size_t>(found - sizes.begin());
  check_options();
  find_probes();
  add_inputs();
  const std::vector<bool> needed = needed_nodes();
  for (size_t i = 0; i < needed.size(); ++i)
    if (needed[i]) add(i);
  add_outputs();
  made_.metadata = graph_.metadata;
  return std::move(made_);
}

Graph stream(const Graph& graph, const StreamOptions& options) { return Streamer(graph, options).run(); }

}  // namespace niwaki
