// Along axes: sums and their like, norms, order.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

std::string reduced(const char* function, Input input, Dims axes, int64_t keepdims = 0) {
  return made("reduce", {std::move(input)},
              {{"function", word(function)}, {"axes", std::move(axes)}, {"keepdims", Dims{keepdims}}});
}

TEST(reductions_over_axes) {
  CHECK_EQ(reduced("sum", f32({2, 3, 4}), {0, 2}), "float32: 3");
  CHECK_EQ(reduced("mean", f32({2, 3, 4}), {1}, 1), "float32: 2 1 4");
  CHECK_EQ(reduced("var", f32({2, 3, 4}), {}), "float32: ");
  CHECK_EQ(reduced("norm2", f32({}), {}), "float32: ");
  CHECK_EQ(reduced("max", i64({2, 3}), {1}), "int64: 2");
  CHECK_EQ(reduced("any", boolean({2, 3}), {1}), "bool: 2");
  CHECK_THROWS(reduced("sum", f32({2, 3}), {1, 1}), "axes has 1 twice");
  CHECK_THROWS(reduced("sum", f32({2, 3}), {2}), "beyond the rank");
  CHECK_THROWS(reduced("mean", i64({2, 3}), {1}), "mean takes float32, not int64");
  CHECK_THROWS(reduced("all", f32({2, 3}), {1}), "all takes bool, not float32");
}

TEST(reductions_of_nothing) {
  CHECK_EQ(reduced("sum", f32({2, 0}), {1}), "float32: 2");
  CHECK_EQ(reduced("mean", f32({2, 0}), {1}), "float32: 2");
  CHECK_EQ(reduced("max", f32({0, 3}), {1}), "float32: 0");
  CHECK_THROWS(reduced("max", f32({2, 0}), {1}), "has no max of an axis without elements");
  CHECK_THROWS(reduced("min", f32({0, 3}), {}), "has no min of an axis without elements");
  CHECK_THROWS(made("arg_reduce", {f32({2, 0})}, {{"function", word("argmax")}, {"axis", Dims{1}}}), "has no argmax of an axis");
}

TEST(reductions_that_find) {
  CHECK_EQ(made("arg_reduce", {f32({2, 3})}, {{"function", word("argmin")}, {"axis", Dims{0}}}), "int64: 3");
  CHECK_EQ(made("arg_reduce", {f32({2, 3})}, {{"function", word("argmin")}, {"axis", Dims{0}}, {"keepdims", Dims{1}}}),
           "int64: 1 3");
  CHECK_EQ(made("topk", {f32({2, 5})}, {{"k", Dims{3}}, {"axis", Dims{1}}}), "float32: 2 3 | int64: 2 3");
  CHECK_THROWS(made("topk", {f32({2, 5})}, {{"k", Dims{6}}, {"axis", Dims{1}}}), "takes 6 of 5 elements");
  CHECK_EQ(made("sort", {i64({2, 5})}, {{"axis", Dims{1}}}), "int64: 2 5 | int64: 2 5");
  CHECK_THROWS(made("sort", {f32({2, 5})}, {{"axis", Dims{2}}}), "axis 2 is beyond the rank");
}

TEST(reductions_that_keep_the_shape) {
  CHECK_EQ(made("softmax", {f32({2, 5})}, {{"axis", Dims{1}}}), "float32: 2 5");
  CHECK_EQ(made("cumsum", {i64({2, 5})}, {{"axis", Dims{1}}}), "int64: 2 5");
  CHECK_EQ(made("cumprod", {f32({2, 5})}, {{"axis", Dims{1}}}), "float32: 2 5");
  CHECK_EQ(made("cumextreme", {f32({2, 5})}, {{"axis", Dims{1}}}), made("sort", {f32({2, 5})}, {{"axis", Dims{1}}}));
  CHECK_THROWS(made("softmax", {f32({2, 5})}, {{"axis", Dims{2}}}), "axis 2 is beyond the rank");
}

TEST(reductions_norms) {
  const Tensors both = {{"weight", floats({3, 4})}, {"bias", floats({3, 4})}};
  CHECK_EQ(made("layer_norm", {f32({2, 3, 4})}, {{"axes", Dims{2}}}, both), "float32: 2 3 4");
  CHECK_EQ(made("layer_norm", {f32({2, 3, 4})}), "float32: 2 3 4");
  CHECK_THROWS(made("layer_norm", {f32({2, 4, 4})}, {{"axes", Dims{2}}}, both), "is [3, 4] and the last axes are [4, 4]");
  CHECK_THROWS(made("layer_norm", {f32({2, 3, 4})}, {}, both), "is [3, 4] and the last axes are [4]");
  CHECK_THROWS(made("layer_norm", {f32({2})}, {{"axes", Dims{2}}}), "normalizes 2 axes of an input of rank 1");
  CHECK_THROWS(made("layer_norm", {f32({2})}, {{"eps", numbers({-1})}}), "eps must be a small number");
  CHECK_THROWS(made("rms_norm", {f32({4})}, {}, {{"bias", floats({4})}}), "takes no tensor 'bias'");
  CHECK_EQ(made("group_norm", {f32({2, 6, 4})}, {{"groups", Dims{3}}}, {{"weight", floats({6})}}), "float32: 2 6 4");
  CHECK_THROWS(made("group_norm", {f32({2, 6})}, {{"groups", Dims{4}}}), "its 6 channels do not divide into 4 groups");
  CHECK_THROWS(made("group_norm", {f32({2, 6})}, {{"groups", Dims{3}}}, {{"bias", floats({5})}}),
               "its input has 6 channels; 5 are expected");
}

}  // namespace
}  // namespace niwaki
