// Element by element: dtypes and broadcasting.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

Attributes function(const char* name) { return {{"function", word(name)}}; }

TEST(elementwise_broadcasts_as_numpy) {
  const auto sum = [](Sizes a, Sizes b) { return made("binary", {f32(std::move(a)), f32(std::move(b))}, function("add")); };
  CHECK_EQ(sum({2, 3}, {2, 3}), "float32: 2 3");
  CHECK_EQ(sum({2, 1, 4}, {3, 1}), "float32: 2 3 4");
  CHECK_EQ(sum({}, {3, 1}), "float32: 3 1");
  CHECK_EQ(sum({1, 0}, {5, 1}), "float32: 5 0");
  CHECK_THROWS(sum({2, 3}, {2, 4}), "its inputs are [2, 3] and [2, 4], which do not broadcast");
  CHECK_THROWS(sum({2, 0}, {2, 3}), "which do not broadcast");
  CHECK_EQ(made("where", {boolean({3, 1}), f32({1, 4}), f32({})}), "float32: 3 4");
  CHECK_THROWS(made("where", {boolean({3}), f32({3}), i64({3})}), "its inputs are float32 and int64; cast them to one type");
}

TEST(elementwise_knows_dims_before_the_sizes) {
  Net net;
  const int a = net.input("a", DType::f32, {"batch", "tokens", "8"}), b = net.input("b", DType::f32, {"batch", "1", "width"});
  CHECK_EQ(net.dims(net.add("binary", {a, b}, function("mul"))), "batch, tokens, 8");
  const int c = net.input("c", DType::f32, {"other", "tokens", "1"});
  CHECK_EQ(net.dims(net.add("binary", {a, c}, function("mul"))), "?, tokens, 8");
}

TEST(elementwise_types) {
  const auto unary = [](const char* name, Input input) { return made("unary", {std::move(input)}, function(name)); };
  CHECK_EQ(unary("exp", f32({2})), "float32: 2");
  CHECK_EQ(unary("abs", i64({2})), "int64: 2");
  CHECK_EQ(unary("isnan", f32({2})), "bool: 2");
  CHECK_EQ(unary("logical_not", boolean({})), "bool: ");
  CHECK_THROWS(unary("exp", i64({2})), "exp takes float32, not int64");
  CHECK_THROWS(unary("logical_not", f32({2})), "logical_not takes bool, not float32");
  const auto binary = [](const char* name, Input a, Input b) {
    return made("binary", {std::move(a), std::move(b)}, function(name));
  };
  CHECK_EQ(binary("lt", i64({2}), i64({2})), "bool: 2");
  CHECK_EQ(binary("eq", boolean({2}), boolean({2})), "bool: 2");
  CHECK_EQ(binary("floor_div", i64({2}), i64({2})), "int64: 2");
  CHECK_THROWS(binary("div", i64({2}), i64({2})), "div takes float32, not int64");
  CHECK_THROWS(binary("lt", boolean({2}), boolean({2})), "lt takes float32 or int64 or int32, not bool");
  CHECK_THROWS(binary("logical_and", f32({2}), f32({2})), "logical_and takes bool, not float32");
  CHECK_THROWS(binary("add", f32({2}), i64({2})), "cast them to one type");
  CHECK_EQ(made("cast", {f32({2, 3})}, {{"dtype", word("int32")}}), "int32: 2 3");
}

TEST(elementwise_parameters) {
  const auto clamp = [](Input input, double low, double high) {
    return made("unary", {std::move(input)}, {{"function", word("clamp")}, {"alpha", numbers({low})}, {"beta", numbers({high})}});
  };
  const double infinity = 1.0 / 0.0;
  CHECK_EQ(clamp(f32({2}), -infinity, 6.0), "float32: 2");
  CHECK_EQ(clamp(i64({2}), -infinity, 6.0), "int64: 2");
  CHECK_THROWS(clamp(i64({2}), 0.5, 6.0), "alpha must be an integer for int64");
  CHECK_THROWS(clamp(f32({2}), infinity - infinity, 6.0), "alpha must be a finite number");
  CHECK_THROWS(made("unary", {f32({2})}, {{"function", word("elu")}, {"alpha", numbers({infinity})}}),
               "alpha must be a finite number");
}

TEST(elementwise_of_uint8) {
  const auto pair = [](const char* op, Sizes a, Sizes b) {
    return made(op, {u8(std::move(a)), u8(std::move(b))}, {}, {}, kScale);
  };
  CHECK_EQ(pair("add", {2, 3, 4}, {2, 3, 4}), "uint8: 2 3 4");
  CHECK_THROWS(pair("add", {2, 8, 3, 5}, {2, 8, 1, 1}), "[2, 8, 3, 5] and [2, 8, 1, 1]; they must be the same");
  const Attributes larger = {{"function", word("maximum")}};
  CHECK_EQ(made("extreme", {u8({2, 3}), u8({2, 3})}, larger, {}, kScale), "uint8: 2 3");
  CHECK_THROWS(made("extreme", {u8({2, 3}), u8({2, 1})}, larger, {}, kScale), "they must be the same");
  CHECK_EQ(made("prelu", {u8({2, 3, 4})}, {}, {{"slope", floats({3})}}, kScale), "uint8: 2 3 4");
  CHECK_THROWS(made("prelu", {u8({2, 4, 3})}, {}, {{"slope", floats({3})}}, kScale), "its input has 4 channels; 3 are expected");
  CHECK_THROWS(made("prelu", {u8({2, 3})}, {}, {{"slope", floats({3}, 1e30f)}}, kScale),
               "its slope 0 is no number that its scales");
  CHECK_EQ(pair("mul", {2, 8, 3, 5}, {2, 8, 1, 1}), "uint8: 2 8 3 5");
  CHECK_EQ(pair("mul", {2, 8}, {2, 8}), "uint8: 2 8");
  CHECK_THROWS(pair("mul", {2, 8, 3, 5}, {1, 8, 1, 1}), "they must be the same");
  CHECK_THROWS(pair("mul", {2, 8, 3, 5}, {2, 8, 1, 5}), "they must be the same");
  CHECK_THROWS(pair("mul", {2, 8, 3}, {2, 8, 1}), "they must be the same");
}

TEST(elementwise_of_channels) {
  const Tensors tensors = {{"gain", floats({3})}, {"shift", floats({3})}};
  CHECK_EQ(made("channel_affine", {f32({2, 3, 4})}, {{"axis", Dims{1}}}, tensors), "float32: 2 3 4");
  CHECK_THROWS(made("channel_affine", {f32({2, 3, 4})}, {{"axis", Dims{2}}}, tensors),
               "its input has 4 channels; 3 are expected");
  CHECK_THROWS(made("channel_affine", {f32({2, 3, 4})}, {{"axis", Dims{3}}}, tensors),
               "axis 3 is beyond the rank of its input (3)");
}

}  // namespace
}  // namespace niwaki
