// LSTM, GRU and RNN, and the lengths of their sequences.
#include "kernels/recurrent/recurrent.h"

#include <algorithm>
#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "graph/operators.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

RecurrentKind kind_of(const std::string& word) {
  if (word == "lstm") return RecurrentKind::lstm;
  if (word == "gru") return RecurrentKind::gru;
  return word == "rnn_tanh" ? RecurrentKind::rnn_tanh : RecurrentKind::rnn_relu;
}

// What a network may ask of lengths beside their range.
struct Wanted {
  bool falling = false, full = false;
};

// Throws where lengths are not what they must be.
void check_lengths(const std::string& where, const Array& lengths, int64_t steps, Wanted wanted) {
  const auto* const given = lengths.as<int64_t>();
  const auto refuse = [&](const std::string& what) { throw Error(Status::invalid_argument, where + ": " + what); };
  const auto text = [](int64_t value) { return std::to_string(value); };
  const int64_t count = lengths.elements();
  for (int64_t i = 0; i < count; ++i) {
    const std::string which = "the length of sequence " + text(i) + " is " + text(given[i]);
    if (given[i] < 1) refuse(which + "; each must have at least 1 step.");
    if (given[i] > steps) refuse(which + ", and there are " + text(steps) + " steps: lengths are 1 to that.");
    if (wanted.falling && i > 0 && given[i] > given[i - 1])
      refuse(which + " and that of the one before " + text(given[i - 1]) +
             ": sort the sequences from the longest to the shortest, or pack them with enforce_sorted=False.");
  }
  const int64_t longest = count == 0 ? steps : *std::max_element(given, given + count);
  if (wanted.full && longest < steps)
    refuse("the longest sequence has " + text(longest) + " steps, and " + text(steps) +
           " are given, of which the network returns as many: give " + text(longest) +
           ", or have pad_packed_sequence return as many as are given (total_length=x.shape[...]).");
}

class LengthsStep : public Step {
 public:
  explicit LengthsStep(const Node& node)
      : where_(describe(node)), wanted_{node.integer("falling") != 0, node.integer("full") != 0} {
    info.scheme = "move";
    info.kernel = "sequence_lengths";
  }

  void run(const StepCall& call) const override {
    check_lengths(where_, call.in[0], integer(call.attributes, "steps"), wanted_);
    const auto* const from = call.in[0].as<int64_t>();
    if (call.out[0].data != from) std::copy_n(from, call.out[0].elements(), call.out[0].as<int64_t>());
  }

  bool may_overwrite(size_t) const override { return true; }

 private:
  std::string where_;
  Wanted wanted_;
};

class RecurrentStep : public Step {
 public:
  RecurrentStep(const Node& node, Recurrent layers, bool batch_first, bool dynamic, double zeros)
      : where_(describe(node)), layers_(std::move(layers)), batch_first_(batch_first) {
    info.zeros = zeros;
    info.scheme = !dynamic ? "float32" : layers_.sparse() ? "sparse int8" : "int8";
    if (dynamic) info.reason = "each row of inputs and states is quantized by its own range";
    info.kernel = layers_.kernel();
    info.bytes = layers_.bytes();
  }

  int64_t scratch_bytes(const StepSizes& sizes) const override {
    const Sizes& x = sizes.in[0].dims;
    return layers_.scratch_bytes(x[step_axis()], x[batch_axis()], sizes.threads, has_lengths(sizes.in));
  }

  void run(const StepCall& call) const override {
    const auto given = [&](std::size_t input) -> const float* {
      return input < call.in.size() && call.in[input].given ? call.in[input].as<float>() : nullptr;
    };
    const Sizes& x = call.in[0].dims;
    const int64_t* lengths = nullptr;
    if (has_lengths(call.in)) {
      check_lengths(where_, call.in[3], x[step_axis()], {});
      lengths = call.in[3].as<int64_t>();
    }
    layers_.run({.x = call.in[0].as<float>(),
                 .h0 = given(1),
                 .c0 = given(2),
                 .y = call.out[0].as<float>(),
                 .h_n = call.out[1].as<float>(),
                 .c_n = call.out.size() > 2 ? call.out[2].as<float>() : nullptr,
                 .steps = x[step_axis()],
                 .batch = x[batch_axis()],
                 .lengths = lengths},
                call.scratch, call.pool);
  }

 private:
  static bool has_lengths(std::span<const Array> in) { return in.size() > 3 && in[3].given; }
  std::size_t step_axis() const { return batch_first_ ? 1 : 0; }
  std::size_t batch_axis() const { return batch_first_ ? 0 : 1; }

  std::string where_;
  Recurrent layers_;
  bool batch_first_;
};

}  // namespace

std::unique_ptr<Step> make_sequence_lengths(const StepMaker& maker) { return std::make_unique<LengthsStep>(maker.node); }

std::unique_ptr<Step> make_recurrent(const StepMaker& maker) {
  const Node& node = maker.node;
  RecurrentParams params{};
  params.kind = kind_of(node.word("kind"));
  params.inputs = node.tensor("w_ih_l0").shape()[1];
  params.hidden = node.integer("hidden");
  params.layers = node.integer("layers");
  params.directions = node.integer("bidirectional") != 0 ? 2 : 1;
  params.batch_first = node.integer("batch_first") != 0;
  if (const Tensor* projection = node.find_tensor("w_hr_l0")) params.projection = projection->shape()[0];

  params.dynamic = node.integer("dynamic") != 0;

  std::deque<Tensor> tensors;  // with their data, until they are packed
  const auto find = [&](const std::string& name) -> const Tensor* {
    const Tensor* tensor = node.find_tensor(name.c_str());
    return tensor == nullptr ? nullptr : &tensors.emplace_back(tensor->unpacked());
  };
  double zeros = 0.0, elements = 0.0;
  const auto weight = [&](const char* part, const std::string& where) -> RowWeights {
    const Tensor* found = find(part + where);
    if (found == nullptr) return {};
    zeros += found->zeros() * static_cast<double>(found->elements());
    elements += static_cast<double>(found->elements());
    const bool floats = found->dtype() == DType::f32;
    return {floats ? found->as<float>() : nullptr, floats ? nullptr : found->as<int8_t>(),
            floats ? nullptr : find(part + where + "_scale")->as<float>(), found->shape()[0], found->shape()[1]};
  };
  const auto bias = [&](const char* part, const std::string& where) -> const float* {
    const Tensor* found = find(part + where);
    return found == nullptr ? nullptr : found->as<float>();
  };
  std::vector<RecurrentWeights> weights;
  for (int64_t layer = 0; layer < params.layers; ++layer) {
    for (int64_t direction = 0; direction < params.directions; ++direction) {
      const std::string where = "_l" + std::to_string(layer) + (direction == 1 ? "_reverse" : "");
      weights.push_back(
          {weight("w_ih", where), weight("w_hh", where), bias("b_ih", where), bias("b_hh", where), weight("w_hr", where)});
    }
  }
  return std::make_unique<RecurrentStep>(node, Recurrent(params, weights, maker.isa, maker.kind), params.batch_first,
                                         params.dynamic, elements > 0.0 ? zeros / elements : 0.0);
}

}  // namespace niwaki
