// What a stream keeps of the past.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "graph/operators.h"
#include "graph/stream/streamer.h"

namespace niwaki {
namespace {

template <typename T>
void fill(uint8_t* data, int64_t at, double number) {
  const T value = static_cast<T>(number);
  std::memcpy(data + at * static_cast<int64_t>(sizeof value), &value, sizeof value);
}

void fill(DType dtype, uint8_t* data, int64_t at, double number) {
  switch (dtype) {
    case DType::f32: return fill<float>(data, at, number);
    case DType::i64: return fill<int64_t>(data, at, number);
    case DType::i32: return fill<int32_t>(data, at, number);
    case DType::i8: return fill<int8_t>(data, at, number);
    default: return fill<uint8_t>(data, at, number);  // bool, byte
  }
}

}  // namespace

int Streamer::cut(const std::string& name, int value, size_t axis, int64_t begin, int64_t end, int64_t step) {
  const auto quantization = made_.value(value).quantization;
  return made_.add_node(
      Op::slice, name, {value},
      {{"axis", Dims{static_cast<int64_t>(axis)}}, {"start", Dims{begin}}, {"end", Dims{end}}, {"step", Dims{step}}}, {},
      {quantization});
}

int Streamer::join(const std::string& name, int a, int b, size_t axis) {
  const auto quantization = made_.value(a).quantization;
  return made_.add_node(Op::concat, name, {a, b}, {{"axis", Dims{static_cast<int64_t>(axis)}}}, {}, {quantization});
}

int Streamer::add_state(const Node& node, const std::string& what, Tensor initial) {
  const auto& states = made_.states();
  const auto taken = [&](const std::string& name) {
    return std::any_of(states.begin(), states.end(), [&](const State& state) { return state.name == name; });
  };
  std::string name = node.name + "." + what;
  for (int i = 2; taken(name); ++i) name = node.name + "." + what + std::to_string(i);
  return made_.add_state(name, std::move(initial));
}

int Streamer::with_context(const Node& node, const Flow& in, int64_t count, double padding) {
  const Value value = made_.value(in.value);
  // A state is no uint8; zero points and back again, every q comes out as it went in.
  const bool bytes = value.dtype == DType::u8;
  if (bytes && !std::isfinite(255.0f * value.quantization->scale))
    refuse(node, "has a scale beyond those whose bytes float32 can hold.");
  const auto number = [&](double q) {
    return bytes ? (q - value.quantization->zero_point) * static_cast<double>(value.quantization->scale) : q;
  };
  std::vector<int64_t> shape;
  for (const Dim& dim : value.dims) shape.push_back(dim.value());
  shape[in.axis] = count;
  const DType dtype = bytes ? DType::f32 : value.dtype == DType::byte ? DType::u8 : value.dtype;  // of the tensor
  int64_t outer = 1, inner = 1;
  for (size_t i = 0; i < shape.size(); ++i) (i < in.axis ? outer : i > in.axis ? inner : count) *= i == in.axis ? 1 : shape[i];
  std::vector<uint8_t> data(static_cast<size_t>(std::max<int64_t>(outer * count * inner, 1) * dtype_bytes(dtype)));
  for (int64_t k = 0; k < count; ++k) {
    const bool within = in.ahead - count + k >= 0;
    if (within && !in.before)
      refuse(node,
             "needs what the layers before it make of the padding in front of the signal; pad there right before a window.");
    for (int64_t i = 0; i < outer; ++i)
      for (int64_t j = 0; j < inner; ++j)
        fill(dtype, data.data(), (i * count + k) * inner + j, number(within ? *in.before : padding));
  }
  const int state = add_state(node, "context", Tensor::copy_of(dtype, shape, data.data()));
  const std::string name = node.name + ".context";
  const int kept = bytes ? made_.add_node(Op::quantize, name, {state}, {}, {}, {value.quantization}) : state;
  const int joined = join(name, kept, in.value, in.axis);
  int last = cut(name, joined, in.axis, in.count, in.count + count);
  if (bytes) last = made_.add_node(Op::dequantize, name, {last}, {}, {});
  made_.set_state(state, last);
  return joined;
}

Flow Streamer::delayed(const Node& node, const Flow& in, int64_t ahead) {
  if (in.ahead <= ahead) return in;
  Flow made = in;
  made.value = cut(node.name, with_context(node, in, in.ahead - ahead, 0.0), in.axis, 0, in.count);
  made.ahead = ahead;
  return made;
}

std::vector<Flow> Streamer::aligned(const Node& node) {
  int64_t least = std::numeric_limits<int64_t>::max();
  for (const int input : node.inputs)
    if (input >= 0 && flow(input).flows()) least = std::min(least, flow(input).ahead);
  std::vector<Flow> made;
  for (const int input : node.inputs) {
    if (input < 0) made.push_back({});
    else made.push_back(flow(input).flows() ? delayed(node, flow(input), least) : flow(input));
  }
  return made;
}

std::optional<double> Streamer::uniform(int value) const {
  const int index = graph_.value(value).node;
  if (index < 0) return std::nullopt;
  const Node& node = graph_.nodes()[static_cast<size_t>(index)];
  switch (node.op) {
    case Op::full: return node.number("value");
    case Op::expand:
    case Op::reshape:
    case Op::permute:
    case Op::slice: return uniform(node.inputs[0]);
    case Op::constant: break;
    default: return std::nullopt;
  }
  const Tensor tensor = node.tensor("value").unpacked();
  const int64_t bytes = dtype_bytes(tensor.dtype());
  if (tensor.elements() == 0) return std::nullopt;
  for (int64_t i = 1; i < tensor.elements(); ++i)
    if (std::memcmp(tensor.data(), tensor.data() + i * bytes, static_cast<size_t>(bytes)) != 0) return std::nullopt;
  switch (tensor.dtype()) {
    case DType::f32: return static_cast<double>(*tensor.as<float>());
    case DType::i64: return static_cast<double>(*tensor.as<int64_t>());
    case DType::i32: return static_cast<double>(*tensor.as<int32_t>());
    case DType::i8: return static_cast<double>(*tensor.as<int8_t>());
    default: return static_cast<double>(*tensor.data());
  }
}

bool Streamer::is_from_input(int value) const {
  std::vector<int> waiting{value};
  std::vector<bool> seen(graph_.values().size());
  while (!waiting.empty()) {
    const int index = waiting.back();
    waiting.pop_back();
    if (index < 0 || seen[static_cast<size_t>(index)]) continue;
    seen[static_cast<size_t>(index)] = true;
    const int maker = graph_.value(index).node;
    if (maker < 0) return true;
    const std::vector<int>& inputs = graph_.nodes()[static_cast<size_t>(maker)].inputs;
    waiting.insert(waiting.end(), inputs.begin(), inputs.end());
  }
  return false;
}

bool Streamer::holds_only_moved(int made, int value) const {
  std::vector<int> waiting{made};
  std::vector<bool> seen(graph_.values().size());
  while (!waiting.empty()) {
    const int index = waiting.back();
    waiting.pop_back();
    if (index == value) return true;
    const int maker = graph_.value(index).node;
    if (maker < 0 || seen[static_cast<size_t>(index)]) continue;
    seen[static_cast<size_t>(index)] = true;
    const Node& node = graph_.nodes()[static_cast<size_t>(maker)];
    switch (node.op) {
      case Op::reshape:
      case Op::permute:
      case Op::slice: waiting.push_back(node.inputs[0]); break;
      case Op::concat: waiting.insert(waiting.end(), node.inputs.begin(), node.inputs.end()); break;
      default: break;
    }
  }
  return false;
}

}  // namespace niwaki
