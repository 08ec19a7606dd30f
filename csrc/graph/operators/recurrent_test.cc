// Recurrent layers: tensors, states and shapes.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

// Of `layers` layers that read `inputs` features and give `hidden`, or `projected` where that is not 0.
Tensors weights(int64_t gates, int64_t inputs, int64_t hidden, int64_t layers, int64_t directions, int64_t projected = 0) {
  Tensors tensors;
  const int64_t width = projected > 0 ? projected : hidden;
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t direction = 0; direction < directions; ++direction) {
      const std::string end = "_l" + std::to_string(layer) + (direction == 1 ? "_reverse" : "");
      tensors["w_ih" + end] = floats({gates * hidden, layer == 0 ? inputs : directions * width});
      tensors["w_hh" + end] = floats({gates * hidden, width});
      tensors["b_ih" + end] = floats({gates * hidden});
      tensors["b_hh" + end] = floats({gates * hidden});
      if (projected > 0) tensors["w_hr" + end] = floats({projected, hidden});
    }
  return tensors;
}

Attributes kind(const char* name, int64_t hidden, int64_t layers = 1, int64_t bidirectional = 0, int64_t batch_first = 0) {
  return {{"kind", word(name)},
          {"hidden", Dims{hidden}},
          {"layers", Dims{layers}},
          {"bidirectional", Dims{bidirectional}},
          {"batch_first", Dims{batch_first}}};
}

TEST(recurrent_shapes) {
  CHECK_EQ(made("recurrent", {f32({7, 2, 3})}, kind("lstm", 5), weights(4, 3, 5, 1, 1)),
           "float32: 7 2 5 | float32: 1 2 5 | float32: 1 2 5");
  CHECK_EQ(made("recurrent", {f32({2, 7, 3})}, kind("gru", 5, 2, 1, 1), weights(3, 3, 5, 2, 2)),
           "float32: 2 7 10 | float32: 4 2 5");
  CHECK_EQ(made("recurrent", {f32({7, 2, 3}), f32({1, 2, 2}), f32({1, 2, 5})}, kind("lstm", 5), weights(4, 3, 5, 1, 1, 2)),
           "float32: 7 2 2 | float32: 1 2 2 | float32: 1 2 5");
  CHECK_EQ(made("recurrent", {f32({7, 0, 3}), f32({1, 0, 5})}, kind("rnn_tanh", 5), weights(1, 3, 5, 1, 1)),
           "float32: 7 0 5 | float32: 1 0 5");
}

TEST(recurrent_refusals) {
  const auto attempt = [](std::vector<Input> inputs, const char* name, const Tensors& tensors, int64_t layers = 1) {
    return made("recurrent", inputs, kind(name, 5, layers), tensors);
  };
  const Tensors lstm = weights(4, 3, 5, 1, 1);
  CHECK_THROWS(attempt({f32({7, 2, 4})}, "lstm", lstm), "its input has 4 channels; 3 are expected");
  CHECK_THROWS(attempt({f32({0, 2, 3})}, "lstm", lstm), "its input has no steps");
  CHECK_THROWS(attempt({f32({7, 2, 3}), f32({1, 3, 5})}, "lstm", lstm), "h0 is [1, 3, 5]; [1, 2, 5] is expected");
  CHECK_THROWS(attempt({f32({7, 2, 3}), f32({1, 2, 5}), f32({1, 2, 4})}, "lstm", lstm), "c0 is [1, 2, 4]");
  CHECK_THROWS(attempt({f32({7, 2, 3}), f32({1, 2, 5}), f32({1, 2, 5})}, "gru", weights(3, 3, 5, 1, 1)), "has no cell state");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "gru", lstm), "w_ih_l0 is [20, 3]; [15, 3] is expected");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", lstm, 2), "needs the tensor 'w_ih_l1'");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", weights(4, 3, 5, 2, 1)), "takes no tensor 'b_hh_l1'");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", weights(4, 3, 5, 1, 1, 5)), "a projection must have fewer elements");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "gru", weights(3, 3, 5, 1, 1, 2)), "takes no tensor 'w_hr_l0'");
  Tensors half = lstm;
  half.erase("b_hh_l0");
  CHECK_THROWS(attempt({f32({7, 2, 3})}, "lstm", half), "needs the tensor 'b_hh_l0': all layers have it or none");
}

}  // namespace
}  // namespace niwaki
