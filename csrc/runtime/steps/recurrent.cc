// LSTM, GRU and RNN.
#include "kernels/recurrent/recurrent.h"

#include <deque>
#include <string>
#include <utility>
#include <vector>

#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

RecurrentKind kind_of(const std::string& word) {
  if (word == "lstm") return RecurrentKind::lstm;
  if (word == "gru") return RecurrentKind::gru;
  return word == "rnn_tanh" ? RecurrentKind::rnn_tanh : RecurrentKind::rnn_relu;
}

class RecurrentStep : public Step {
 public:
  RecurrentStep(Recurrent layers, bool batch_first, bool dynamic, double zeros)
      : layers_(std::move(layers)), batch_first_(batch_first) {
    info.zeros = zeros;
    info.scheme = !dynamic ? "float32" : layers_.sparse() ? "sparse int8" : "int8";
    if (dynamic) info.reason = "each row of inputs and states is quantized by its own range";
    info.kernel = layers_.kernel();
    info.bytes = layers_.bytes();
  }

  int64_t scratch_bytes(const StepSizes& sizes) const override {
    const Sizes& x = sizes.in[0].dims;
    return layers_.scratch_bytes(x[step_axis()], x[batch_axis()], sizes.threads);
  }

  void run(const StepCall& call) const override {
    const auto given = [&](std::size_t input) -> const float* {
      return input < call.in.size() && call.in[input].given ? call.in[input].as<float>() : nullptr;
    };
    const Sizes& x = call.in[0].dims;
    layers_.run({.x = call.in[0].as<float>(),
                 .h0 = given(1),
                 .c0 = given(2),
                 .y = call.out[0].as<float>(),
                 .h_n = call.out[1].as<float>(),
                 .c_n = call.out.size() > 2 ? call.out[2].as<float>() : nullptr,
                 .steps = x[step_axis()],
                 .batch = x[batch_axis()]},
                call.scratch, call.pool);
  }

 private:
  std::size_t step_axis() const { return batch_first_ ? 1 : 0; }
  std::size_t batch_axis() const { return batch_first_ ? 0 : 1; }

  Recurrent layers_;
  bool batch_first_;
};

}  // namespace

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
  return std::make_unique<RecurrentStep>(Recurrent(params, weights, maker.isa, maker.kind), params.batch_first, params.dynamic,
                                         elements > 0.0 ? zeros / elements : 0.0);
}

}  // namespace niwaki
