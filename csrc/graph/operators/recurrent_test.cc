// Recurrent layers: tensors, states and shapes.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

Attributes kind(const char* name, int64_t hidden, int64_t layers = 1, int64_t bidirectional = 0, int64_t batch_first = 0) {
  return {{"kind", word(name)},
          {"hidden", Dims{hidden}},
          {"layers", Dims{layers}},
          {"bidirectional", Dims{bidirectional}},
          {"batch_first", Dims{batch_first}}};
}

TEST(recurrent_shapes) {
  CHECK_EQ(made("recurrent", {f32({7, 2, 3})}, kind("lstm", 5), recurrent_tensors(4, 3, 5, 1, 1)),
           "float32: 7 2 5 | float32: 1 2 5 | float32: 1 2 5");
  CHECK_EQ(made("recurrent", {f32({2, 7, 3})}, kind("gru", 5, 2, 1, 1), recurrent_tensors(3, 3, 5, 2, 2)),
           "float32: 2 7 10 | float32: 4 2 5");
  CHECK_EQ(
      made("recurrent", {f32({7, 2, 3}), f32({1, 2, 2}), f32({1, 2, 5})}, kind("lstm", 5), recurrent_tensors(4, 3, 5, 1, 1, 2)),
      "float32: 7 2 2 | float32: 1 2 2 | float32: 1 2 5");
  CHECK_EQ(made("recurrent", {f32({7, 0, 3}), f32({1, 0, 5})}, kind("rnn_tanh", 5), recurrent_tensors(1, 3, 5, 1, 1)),
           "float32: 7 0 5 | float32: 1 0 5");
}

TEST(recurrent_lengths) {
  CHECK_EQ(made("recurrent", {f32({7, 2, 3}), f32({1, 2, 5}), f32({1, 2, 5}), i64({2})}, kind("lstm", 5),
                recurrent_tensors(4, 3, 5, 1, 1)),
           "float32: 7 2 5 | float32: 1 2 5 | float32: 1 2 5");
  CHECK_THROWS(made("recurrent", {f32({7, 2, 3}), f32({1, 2, 5}), f32({1, 2, 5}), i64({3})}, kind("lstm", 5),
                    recurrent_tensors(4, 3, 5, 1, 1)),
               "its lengths are [3]; one for each sequence, [2], is expected");
  CHECK_EQ(made("sequence_lengths", {i64({4})}, {{"steps", Dims{9}}, {"falling", Dims{1}}}), "int64: 4");
}

TEST(recurrent_refusals) {
  const auto attempt = [](std::vector<Input> inputs, const char* name, const Tensors& tensors, int64_t layers = 1) {
    return made("recurrent", inputs, kind(name, 5, layers), tensors);
  };
  const Tensors lstm = recurrent_tensors(4, 3, 5, 1, 1);
  CHECK_THROWS(attempt({f32({7, 2, 4})}, "lstm", lstm), "its input has 4 channels; 3 are expected");
  CHECK_THROWS(attempt({f32({0, 2, 3})}, "lstm", lstm), "its input has no steps");
  CHECK_THROWS(attempt({f32({7, 2, 3}), f32({1, 3, 5})}, "lstm", lstm), "h0 is [1, 3, 5]; [1, 2, 5] is expected");
  CHECK_THROWS(attempt({f32({7, 2, 3}), f32({1, 2, 5}), f32({1, 2, 4})}, "lstm", lstm), "c0 is [1, 2, 4]");
  CHECK_THROWS(attempt({f32({7, 2, 3}), f32({1, 2, 5}), f32({1, 2, 5})}, "gru", recurrent_tensors(3, 3, 5, 1, 1)),
               "has no cell state");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "gru", lstm), "w_ih_l0 is [20, 3]; [15, 3] is expected");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", lstm, 2), "needs the tensor 'w_ih_l1'");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", recurrent_tensors(4, 3, 5, 2, 1)), "takes no tensor 'b_hh_l1'");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", recurrent_tensors(4, 3, 5, 1, 1, 5)), "a projection must have fewer elements");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "gru", recurrent_tensors(3, 3, 5, 1, 1, 2)), "takes no tensor 'w_hr_l0'");
  Tensors bytes = lstm;
  const std::vector<uint8_t> ones(60, 1);
  bytes["w_ih_l0"] = Tensor::copy_of(DType::i8, {20, 3}, ones.data());
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", bytes), "needs the tensor 'w_ih_l0_scale': w_ih_l0 is int8");
  const std::vector<float> scale(20, 0.5f);
  bytes["w_ih_l0_scale"] = Tensor::copy_of(DType::f32, {20}, scale.data());
  CHECK_EQ(attempt({f32({7, 2, 3})}, "lstm", bytes), "float32: 7 2 5 | float32: 1 2 5 | float32: 1 2 5");
  bytes["w_ih_l0_scale"] = Tensor::copy_of(DType::f32, {4}, scale.data());
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", bytes), "w_ih_l0_scale is [4]; [20] is expected");
  bytes["w_ih_l0_scale"] = Tensor::copy_of(DType::f32, {20}, scale.data());
  Attributes dynamic = kind("lstm", 5);
  dynamic["dynamic"] = Dims{1};
  CHECK_THROWS(made("recurrent", {f32({7, 2, 3})}, dynamic, bytes), "w_hh_l0 must be int8");
  const std::vector<uint8_t> more(100, 1);
  bytes["w_hh_l0"] = Tensor::copy_of(DType::i8, {20, 5}, more.data());
  bytes["w_hh_l0_scale"] = bytes["w_ih_l0_scale"];
  CHECK_EQ(made("recurrent", {f32({7, 2, 3})}, dynamic, bytes), "float32: 7 2 5 | float32: 1 2 5 | float32: 1 2 5");
  const std::vector<uint8_t> lowest(60, 0x80);
  bytes["w_ih_l0"] = Tensor::copy_of(DType::i8, {20, 3}, lowest.data());
  CHECK_THROWS(made("recurrent", {f32({7, 2, 3})}, dynamic, bytes), "its w_ih_l0 holds -128 in output channel 0");
  Tensors scaled = lstm;
  scaled["w_hh_l0_scale"] = Tensor::copy_of(DType::f32, {20}, scale.data());
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", scaled), "takes no tensor 'w_hh_l0_scale'");
  Tensors half = lstm;
  half.erase("b_hh_l0");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", half), "needs the tensor 'b_hh_l0': all layers have it or none");
}

}  // namespace
}  // namespace niwaki
