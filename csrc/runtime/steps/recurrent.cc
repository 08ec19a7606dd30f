// LSTM, GRU and RNN.
#include "kernels/recurrent/recurrent.h"

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

// int8 [rows, columns], each row times its scale.
std::vector<float> scaled(const Tensor& weight, const Tensor& scale) {
  const auto rows = static_cast<size_t>(weight.shape()[0]), columns = static_cast<size_t>(weight.shape()[1]);
  std::vector<float> real(rows * columns);
  for (size_t row = 0; row < rows; ++row)
    for (size_t i = row * columns; i < (row + 1) * columns; ++i)
      real[i] = static_cast<float>(weight.as<int8_t>()[i]) * scale.as<float>()[row];
  return real;
}

class RecurrentStep : public Step {
 public:
  RecurrentStep(Recurrent layers, bool batch_first) : layers_(std::move(layers)), batch_first_(batch_first) {
    info.scheme = "float32";
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

  std::vector<Tensor> tensors;  // with their data, until they are packed
  std::vector<std::vector<float>> floats;
  const auto data = [&](const char* part, const std::string& where) -> const float* {
    const std::string name = part + where;
    const Tensor* tensor = node.find_tensor(name.c_str());
    if (tensor == nullptr) return nullptr;
    const Tensor& found = tensors.emplace_back(tensor->unpacked());
    if (found.dtype() == DType::f32) return found.as<float>();
    return floats.emplace_back(scaled(found, node.tensor((name + "_scale").c_str()).unpacked())).data();
  };
  std::vector<RecurrentWeights> weights;
  for (int64_t layer = 0; layer < params.layers; ++layer) {
    for (int64_t direction = 0; direction < params.directions; ++direction) {
      const std::string where = "_l" + std::to_string(layer) + (direction == 1 ? "_reverse" : "");
      weights.push_back(
          {data("w_ih", where), data("w_hh", where), data("b_ih", where), data("b_hh", where), data("w_hr", where)});
    }
  }
  return std::make_unique<RecurrentStep>(Recurrent(params, weights, maker.isa), params.batch_first);
}

}  // namespace niwaki
