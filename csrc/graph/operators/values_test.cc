// Values that come from no input.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(values_of_constants) {
  CHECK_EQ(made("constant", {}, {}, {{"value", floats({2, 3})}}), "float32: 2 3");
  CHECK_EQ(made("constant", {}, {}, {{"value", floats({})}}), "float32: ");
  CHECK_EQ(made("constant", {}, {}, {{"value", bytes(DType::u8, {4}, 1)}}, kScale), "uint8: 4");
  const auto full = [](const char* dtype, double value) {
    return made("full", {}, {{"shape", Dims{2, 0}}, {"dtype", word(dtype)}, {"value", numbers({value})}});
  };
  CHECK_EQ(full("float32", -0.5), "float32: 2 0");
  CHECK_EQ(full("bool", 1), "bool: 2 0");
  CHECK_THROWS(full("bool", 2), "value must be an integer that bool holds");
  CHECK_THROWS(full("int32", 3e9), "value must be an integer that int32 holds");
  CHECK_THROWS(full("int64", 0.5), "value must be an integer that int64 holds");
}

TEST(values_that_count) {
  const auto counted = [](int64_t start, int64_t end, int64_t step, const char* dtype = "int64") {
    return made("arange", {}, {{"start", Dims{start}}, {"end", Dims{end}}, {"step", Dims{step}}, {"dtype", word(dtype)}});
  };
  CHECK_EQ(counted(0, 5, 1), "int64: 5");
  CHECK_EQ(counted(1, 8, 3), "int64: 3");
  CHECK_EQ(counted(5, 5, 1), "int64: 0");
  CHECK_EQ(counted(5, -1, -2), "int64: 3");
  CHECK_THROWS(counted(5, 3, 1), "cannot go from 5 to 3 in steps of 1");
  CHECK_THROWS(counted(0, 3, 0), "goes in steps of 0");
  CHECK_THROWS(counted(3000000000, 3000000001, 1, "int32"), "which int32 does not hold");
  CHECK_EQ(made("linspace", {}, {{"start", numbers({0})}, {"end", numbers({1})}, {"steps", Dims{4}}}), "float32: 4");
}

TEST(values_of_free_sizes) {
  Net net;
  net.input("x", DType::f32, {"batch", "tokens"});
  const Dim tokens = net.size("tokens");
  const int positions = net.add("arange", {}, {{"start", Dims{2}}, {"end", Dims{tokens + 2}}, {"dtype", word("int64")}});
  CHECK_EQ(net.dims(positions), "tokens");
  const int size = net.add("size", {}, {{"value", Dims{tokens * 2}}});
  CHECK_EQ(net.shape({{2, 5}}, positions), "5");
  CHECK_EQ(net.shape({{2, 5}}, size), "");
  const Dim shifted = tokens - 3;
  net.add("linspace", {}, {{"start", numbers({0})}, {"end", numbers({1})}, {"steps", Dims{shifted}}});
  CHECK_EQ(net.shape({{2, 5}}), "2");
  CHECK_THROWS(net.shape({{2, 2}}), "the linspace (linspace): attribute 'steps' must lie in 0 to 2147483647, not -1");
}

// Integers of eight bits without a scale are moved, chosen and converted, and nothing computes with them.
TEST(rules_of_plain_bytes) {
  Graph graph;
  const Dim batch = graph.add_size("batch");
  const int x = graph.add_input("x", DType::byte, {batch, 4}), y = graph.add_input("y", DType::i8, {batch, 4});
  const auto add = [&](const char* op, std::vector<int> inputs, Attributes attributes = {}, Tensors tensors = {}) {
    return graph.add_node(op, op, std::move(inputs), std::move(attributes), std::move(tensors));
  };
  const auto type = [&](int value) { return std::string(dtype_name(graph.value(value).dtype)); };
  const uint8_t bytes[] = {1, 2, 3, 4};
  const int constant = add("constant", {}, {}, {{"value", Tensor::copy_of(DType::u8, {1, 4}, bytes)}});
  CHECK_EQ(type(constant), "byte");
  CHECK_EQ(type(add("constant", {}, {}, {{"value", Tensor::copy_of(DType::i8, {4}, bytes)}})), "int8");
  CHECK_EQ(type(add("slice", {x}, {{"axis", Dims{1}}, {"start", Dims{0}}, {"end", Dims{2}}, {"step", Dims{1}}})), "byte");
  CHECK_EQ(type(add("expand", {constant}, {{"shape", Dims{7, 4}}})), "byte");
  CHECK_EQ(type(add("cast", {x}, {{"dtype", std::string("int8")}})), "int8");
  CHECK_EQ(type(add("cast", {y}, {{"dtype", std::string("byte")}})), "byte");
  const int condition = add("cast", {x}, {{"dtype", std::string("bool")}});
  CHECK_EQ(type(add("where", {condition, x, constant})), "byte");
  CHECK_THROWS(add("where", {condition, x, y}), "its inputs are byte and int8; cast them to one type");
  CHECK_THROWS(add("binary", {x, x}, {{"function", std::string("add")}}), "its input 'a' is byte, not float32 or int64");
  CHECK_THROWS(add("reduce", {y}, {{"function", std::string("sum")}}), "its input 'data' is int8, not float32");
  CHECK_THROWS(add("dequantize", {x}), "its input 'data' is byte, not uint8");
  CHECK_THROWS(add("cast", {x}, {{"dtype", std::string("uint8")}}), "must be one of float32, int64, int32, bool, byte, int8");
  const auto pad = [&](int value, double number) {
    return add("pad", {value},
               {{"padding", Dims{0, 0, 1, 1}}, {"mode", std::string("constant")}, {"value", std::vector<double>{number}}});
  };
  CHECK_EQ(type(pad(x, 255)), "byte");
  CHECK_EQ(type(pad(y, -128)), "int8");
  CHECK_THROWS(pad(x, 256), "value must be one that byte holds, not 256");
  CHECK_THROWS(pad(y, 128), "value must be one that int8 holds, not 128");
  CHECK_THROWS(pad(x, 0.5), "value must be an integer for byte");
  CHECK_THROWS(graph.add_input("z", DType::u8, {4}), "Input 'z' is uint8, which only values inside of a network are; take byte");
  CHECK_EQ(type(graph.add_state("seen", Tensor::copy_of(DType::u8, {4}, bytes))), "byte");
}

}  // namespace
}  // namespace niwaki
