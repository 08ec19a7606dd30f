// Layers of int8 weights: shapes and refusals.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(layers_check_their_weights) {
  Images s;
  const auto conv = [&](Tensors tensors, Attributes attributes = {}) {
    return s.add_u8("conv2d", {s.x}, std::move(attributes), std::move(tensors));
  };
  CHECK_THROWS(conv(layer({4, 7, 1, 1})), "has 8 channels; 7 are expected");
  CHECK_THROWS(conv(layer({4, 8, 1, 1}), {{"groups", Dims{3}}}), "do not divide into 3 groups");
  CHECK_THROWS(conv(layer({4, 8, 1, 1}), {{"low", Dims{9}}, {"high", Dims{8}}}), "low (9) is above high (8)");
  CHECK_THROWS(conv(layer({4, 8, 1, 1}, -128)), "-128 in output channel 0");
  CHECK_THROWS(conv(layer({4, 8, 1, 1}, 1, 0, 0.0f)), "weight_scale of output channel 0");
  CHECK_THROWS(conv(layer({4, 8, 1, 1}, 1, 0, 1e30f)), "scales of output channel 0 do not fit");
  CHECK_THROWS(conv(layer({4, 8, 1, 1}, 1, 2147483647)), "could overflow int32");
  CHECK_THROWS(conv(layer({1, 8, 91, 92})), "sums 66976 products");
  CHECK_THROWS(conv(layer({0, 8, 1, 1})), "its weight is empty");
  CHECK_THROWS(conv(layer({4, 8, 1, 0})), "its weight is empty");
  Tensors other = layer({4, 8, 1, 1});
  other["bias"] = layer({5, 8, 1, 1})["bias"];
  CHECK_THROWS(conv(other), "bias has 5 elements; the weight has 4 output channels");
  CHECK_THROWS(s.add_u8("linear", {s.x}, {}, layer({4, 8, 1})), "weight must have rank 2, not 3");
  CHECK_THROWS(s.add("conv2d", {s.x, s.x}, {}, layer({8, 8, 1, 1})), "a residual needs a uint8 output");
  CHECK_THROWS(s.add_u8("conv2d", {s.x, s.x}, {}, layer({4, 8, 1, 1})),
               "the residual is [batch, 8, height, width] and the output [batch, 4, height, width]");
}

TEST(layers_shapes) {
  const Attributes windows = {{"stride", Dims{2, 3}}, {"padding", Dims{1, 2, 0, 3}}, {"dilation", Dims{2, 1}}};
  // (10 + 1 - 4 - 1) / 2 + 1, (9 + 5 - 1 - 1) / 3 + 1
  CHECK_EQ(made("conv2d", {u8({2, 8, 10, 9})}, windows, layer({5, 8, 3, 2}), kScale), "uint8: 2 5 4 5");
  CHECK_EQ(made("conv2d", {u8({0, 8, 10, 9})}, windows, layer({5, 8, 3, 2})), "float32: 0 5 4 5");
  CHECK_THROWS(made("conv2d", {u8({1, 8, 3, 9})}, windows, layer({5, 8, 3, 2})),
               "the conv2d (conv2d): an input 3 pixels high is too small");
  CHECK_THROWS(made("conv2d", {u8({1, 8, 9, 0})}, {{"padding", Dims{2}}}, layer({5, 8, 3, 2})),
               "its input [1, 8, 9, 0] is empty");
  CHECK_EQ(made("conv2d", {u8({2, 8, 5, 5}), u8({2, 8, 5, 5})}, {}, layer({8, 8, 1, 1}), kScale), "uint8: 2 8 5 5");
  CHECK_THROWS(made("conv2d", {u8({2, 8, 5, 5}), u8({2, 8, 5, 4})}, {}, layer({8, 8, 1, 1}), kScale),
               "the residual is [2, 8, 5, 4]");
  CHECK_EQ(made("linear", {u8({6})}, {}, layer({4, 6})), "float32: 4");
  CHECK_EQ(made("linear", {u8({2, 3, 5, 6})}, {}, layer({4, 6}), kScale), "uint8: 2 3 5 4");
  CHECK_THROWS(made("linear", {u8({2, 3, 5})}, {}, layer({4, 6}), kScale), "its input has 5 channels; 6 are expected");
}

TEST(layers_of_rows_that_are_quantized_when_they_run) {
  Tensors tensors = layer({4, 6});
  tensors["bias"] = floats({4});
  CHECK_EQ(made("dynamic_linear", {f32({2, 3, 6})}, {}, tensors), "float32: 2 3 4");
  CHECK_THROWS(made("dynamic_linear", {f32({2, 3, 5})}, {}, tensors), "its input has 5 channels; 6 are expected");
  tensors["bias"] = floats({4}, 1.0f / 0.0f);
  CHECK_THROWS(made("dynamic_linear", {f32({2, 3, 6})}, {}, tensors), "bias of output channel 0 must be finite");
  tensors["bias"] = floats({3});
  CHECK_THROWS(made("dynamic_linear", {f32({2, 3, 6})}, {}, tensors), "bias has 3 elements");
}

TEST(layers_between_types) {
  CHECK_EQ(made("quantize", {f32({2, 3})}, {}, {}, kScale), "uint8: 2 3");
  CHECK_EQ(made("dequantize", {u8({2, 3, 4, 5, 6})}), "float32: 2 3 4 5 6");
  CHECK_THROWS(made("quantize", {f32({})}, {}, {}, kScale), "must have rank 1 to 8, not 0");
}

}  // namespace
}  // namespace niwaki
