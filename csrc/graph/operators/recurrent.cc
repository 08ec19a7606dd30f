// LSTM, GRU and RNN of several layers and both directions.
#include "graph/operators/rules.h"

namespace niwaki::rules {
namespace {

bool is_lstm(const Node& node) { return node.word("kind") == "lstm"; }

int64_t directions(const Node& node) { return node.integer("bidirectional") != 0 ? 2 : 1; }

int64_t gates(const Node& node) { return is_lstm(node) ? 4 : node.word("kind") == "gru" ? 3 : 1; }

constexpr const char* kScale = "_scale";

// As torch names them: w_ih_l0, ..., b_hh_l1_reverse.
std::string tensor_name(const char* part, int64_t layer, int64_t direction) {
  return std::string(part) + "_l" + text(layer) + (direction == 1 ? "_reverse" : "");
}

std::vector<TensorRule> tensors_of(const Node& node) {
  std::vector<TensorRule> rules;
  for (int64_t layer = 0; layer < node.integer("layers"); ++layer)
    for (int64_t direction = 0; direction < directions(node); ++direction) {
      const auto weight = [&](const char* part, bool optional) {
        const std::string name = tensor_name(part, layer, direction);
        rules.push_back({name, kFloat | types_of(DType::i8), 2, optional});
        rules.push_back({name + kScale, kFloat, 1, true});
      };
      for (const char* part : {"w_ih", "w_hh"}) weight(part, false);
      for (const char* part : {"b_ih", "b_hh"}) rules.push_back({tensor_name(part, layer, direction), kFloat, 1, true});
      if (is_lstm(node)) weight("w_hr", true);
    }
  return rules;
}

// What a layer gives: the hidden state, or its projection.
int64_t width(const Node& node) {
  const Tensor* projection = node.find_tensor("w_hr_l0");
  return projection != nullptr ? projection->shape()[0] : node.integer("hidden");
}

void check_recurrent(const Inference& inference) {
  const Node& node = inference.node;
  const int64_t hidden = node.integer("hidden"), rows = gates(node) * hidden, out = width(node);
  const bool biased = node.find_tensor("b_ih_l0") != nullptr, projected = node.find_tensor("w_hr_l0") != nullptr;
  if (out < 1 || (projected && out >= hidden))
    refuse(node, "a projection must have fewer elements than the hidden state, not " + text(out) + ".");
  const auto expect = [&](const std::string& name, bool there, std::vector<int64_t> shape) {
    const Tensor* tensor = node.find_tensor(name.c_str());
    if ((tensor != nullptr) != there)
      refuse(node, (there ? "needs the tensor '" : "takes no tensor '") + name + "': all layers have it or none.");
    if (tensor == nullptr || tensor->shape() == shape) return;
    refuse(node, name + " is " + text(inference, Dims(tensor->shape().begin(), tensor->shape().end())) + "; " +
                     text(inference, Dims(shape.begin(), shape.end())) + " is expected.");
  };
  // int8 ones have a scale for each row.
  const auto expect_weight = [&](const std::string& name, bool there, std::vector<int64_t> shape) {
    expect(name, there, shape);
    const Tensor* tensor = node.find_tensor(name.c_str());
    const bool scaled = tensor != nullptr && tensor->dtype() == DType::i8;
    const std::string scale = name + kScale;
    if ((node.find_tensor(scale.c_str()) != nullptr) != scaled)
      refuse(node, scaled ? "needs the tensor '" + scale + "': " + name + " is int8." : "takes no tensor '" + scale + "'.");
    if (scaled) expect(scale, true, {shape[0]});
    if (tensor == nullptr || node.integer("dynamic") == 0) return;
    if (!scaled) refuse(node, name + " must be int8: rows that are quantized by their own ranges multiply such weights.");
    check_int8_matrix(node, name.c_str());
  };
  const int64_t inputs = node.tensor("w_ih_l0").shape()[1];
  for (int64_t layer = 0; layer < node.integer("layers"); ++layer)
    for (int64_t direction = 0; direction < directions(node); ++direction) {
      const auto name = [&](const char* part) { return tensor_name(part, layer, direction); };
      expect_weight(name("w_ih"), true, {rows, layer == 0 ? inputs : directions(node) * out});
      expect_weight(name("w_hh"), true, {rows, out});
      expect(name("b_ih"), biased, {rows});
      expect(name("b_hh"), biased, {rows});
      if (is_lstm(node)) expect_weight(name("w_hr"), projected, {out, hidden});
    }
  if (inference.given(2) && !is_lstm(node)) refuse(node, "has no cell state, so it takes no c0.");
}

// The length of each of `batch` sequences.
void expect_each(const Inference& inference, size_t input, const Dim& batch) {
  const Dims& lengths = inference.input(input).dims;
  if (differ(lengths[0], batch))
    refuse(inference.node, "its lengths are " + text(inference, lengths) + "; one for each sequence, " +
                               text(inference, Dims{batch}) + ", is expected.");
}

std::vector<Operand> infer_recurrent(const Inference& inference) {
  const Node& node = inference.node;
  const Dims& in = inference.input(0).dims;
  const bool batch_first = node.integer("batch_first") != 0;
  const Dim &steps = in[batch_first ? 1 : 0], &batch = in[batch_first ? 0 : 1];
  expect_channels(inference, in[2], node.tensor("w_ih_l0").shape()[1], "its input");
  if (is_zero(steps)) refuse(node, "its input has no steps.");
  const int64_t states = node.integer("layers") * directions(node);
  const Dims hidden = {states, batch, width(node)}, cell = {states, batch, node.integer("hidden")};
  if (inference.given(3)) expect_each(inference, 3, batch);
  for (size_t i = 1; i < 3; ++i) {
    if (!inference.given(i)) continue;
    const Dims &given = inference.input(i).dims, &wanted = i == 1 ? hidden : cell;
    for (size_t k = 0; k < 3; ++k)
      if (differ(given[k], wanted[k]))
        refuse(node, std::string(i == 1 ? "h0" : "c0") + " is " + text(inference, given) + "; " + text(inference, wanted) +
                         " is expected.");
  }
  const Dim features = directions(node) * width(node);
  const Dims y = batch_first ? Dims{batch, steps, features} : Dims{steps, batch, features};
  std::vector<Operand> out = {{DType::f32, y}, {DType::f32, hidden}};
  if (is_lstm(node)) out.push_back({DType::f32, cell});
  return out;
}

std::vector<Operand> infer_lengths(const Inference& inference) { return one(DType::i64, inference.input(0).dims); }

}  // namespace

OperatorRule sequence_lengths() {
  return {.summary =
              "the lengths of sequences, looked at: each is 1 to steps; falling: none is longer than the one before; full: the "
              "longest "
              "is steps long. Others are errors when it runs",
          .inputs = {{"lengths", kInt64, 1, 1}},
          .attributes = {expressions("steps", 1, 0, kInt32), flag("falling"), flag("full")},
          .infer = infer_lengths};
}

OperatorRule recurrent() {
  return {
      .summary =
          "LSTM, GRU or RNN over the steps of [T, N, I], or [N, T, I] with batch_first; makes y, h_n and, for an LSTM, c_n. "
          "The width of a projection is that of w_hr. lengths, one for each sequence, 1 to T: it ends there, and begins there in "
          "the "
          "other direction; behind it y is 0. Others are errors when it runs",
      .inputs = {{"x", kFloat, 3, 3}, {"h0", kFloat, 3, 3, true}, {"c0", kFloat, 3, 3, true}, {"lengths", kInt64, 1, 1, true}},
      .attributes = {word("kind", {"lstm", "gru", "rnn_tanh", "rnn_relu"}), integers("hidden", 1, 1, kFar * 64),
                     integers("layers", 1, 1, 64, Dims{1}), flag("bidirectional"), flag("batch_first"), flag("dynamic")},
      .more_tensors = tensors_of,
      .more_tensors_text =
          "w_ih_l0 [gates * hidden, inputs], w_hh_l0, b_ih_l0, b_hh_l0 (none or all), w_hr_l0 [projection, hidden] (LSTM; "
          "none or all), and so on for each layer, ..._reverse for the other direction; float32, or weights in int8 with a "
          "scale for "
          "each row (w_ih_l0_scale [gates * hidden], ...)",
      .check = check_recurrent,
      .infer = infer_recurrent};
}

}  // namespace niwaki::rules
