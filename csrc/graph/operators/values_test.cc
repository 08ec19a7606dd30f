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

}  // namespace
}  // namespace niwaki
