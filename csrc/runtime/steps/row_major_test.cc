// The steps of operators that go element by element, and of those along axes, in sessions. The kernels have tests of their own.
#include <cmath>
#include <limits>
#include <memory>

#include "kernels/elementwise/elementwise.h"
#include "runtime/session_for_test.h"

namespace niwaki {
namespace {

using testing::Net;
using testing::numbers;
using testing::Values;
using testing::word;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();

struct Given {
  DType dtype;
  Values values;
};
Given f32(Sizes shape, std::vector<double> data) { return {DType::f32, {std::move(shape), std::move(data)}}; }
Given i64(Sizes shape, std::vector<double> data) { return {DType::i64, {std::move(shape), std::move(data)}}; }
Given boolean(Sizes shape, std::vector<double> data) { return {DType::boolean, {std::move(shape), std::move(data)}}; }

// What one operator makes, in a network whose sizes are all free.
std::vector<Values> made(const char* op, const std::vector<Given>& inputs, const Attributes& attributes,
                         const Tensors& tensors = {}) {
  Net net;
  std::vector<int> values;
  std::vector<Values> given;
  for (const Given& input : inputs) {
    Dims dims;
    for (size_t i = 0; i < input.values.shape.size(); ++i)
      dims.push_back(input.values.shape[i] == 1 ? Dim(1)
                                                : net.graph.add_size("size " + std::to_string(net.graph.sizes().size())));
    values.push_back(net.graph.add_input("input " + std::to_string(values.size()), input.dtype, std::move(dims)));
    given.push_back(input.values);
  }
  net.add(op, values, attributes, tensors);
  for (const int output : net.graph.nodes().back().outputs) net.graph.add_output(output, "output " + std::to_string(output));
  Session session(std::make_shared<const Model>(net.graph, current_isa()), 2);
  return run(session, given);
}

void check(const Values& found, const Sizes& shape, const std::vector<double>& data, double error = 0.0) {
  CHECK(found.shape == shape);
  CHECK_EQ(found.data.size(), data.size());
  for (size_t i = 0; i < data.size() && i < found.data.size(); ++i) {
    const bool same = std::isnan(data[i]) ? std::isnan(found.data[i]) : found.data[i] == data[i];
    if (!same && !(std::fabs(found.data[i] - data[i]) <= error)) CHECK_EQ(found.data[i], data[i]);
  }
}

std::vector<const char*> functions_of(Op op) {
  for (const AttributeRule& attribute : operator_rule(op).attributes)
    if (std::string(attribute.name) == "function") return attribute.words;
  return {};
}

TEST(steps_know_every_function_of_the_table) {
  CHECK(functions_of(Op::unary).size() > 40);
  for (const char* name : functions_of(Op::unary)) CHECK(find_unary(name));
  for (const char* name : functions_of(Op::binary)) CHECK(find_binary(name));
  for (const char* name : functions_of(Op::reduce)) {
    const bool of_bool = std::string(name) == "any" || std::string(name) == "all";
    const auto out = made("reduce", {of_bool ? boolean({2}, {1, 1}) : f32({2}, {1, 1})}, {{"function", word(name)}});
    CHECK_EQ(out[0].data.size(), 1u);
  }
}

TEST(steps_of_functions_of_one) {
  check(made("unary", {f32({3}, {-1, 0, 2})}, {{"function", word("leaky_relu")}, {"alpha", numbers({0.5})}})[0], {3},
        {-0.5, 0, 2});
  check(made("unary", {f32({3}, {-9, 0, 9})},
             {{"function", word("clamp")}, {"alpha", numbers({-kInf})}, {"beta", numbers({1})}})[0],
        {3}, {-9, 0, 1});
  check(made("unary", {i64({3}, {-9, 0, 9})},
             {{"function", word("clamp")}, {"alpha", numbers({-2})}, {"beta", numbers({kInf})}})[0],
        {3}, {-2, 0, 9});
  check(made("unary", {f32({3}, {1, kNaN, kInf})}, {{"function", word("isfinite")}})[0], {3}, {1, 0, 0});
  check(made("unary", {boolean({2}, {1, 0})}, {{"function", word("logical_not")}})[0], {2}, {0, 1});
  check(made("unary", {f32({}, {1})}, {{"function", word("exp")}})[0], {}, {2.718281828}, 1e-6);
}

TEST(steps_of_functions_of_two) {
  const Given table = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  check(made("binary", {table, f32({3}, {10, 20, 30})}, {{"function", word("add")}})[0], {2, 3}, {11, 22, 33, 14, 25, 36});
  check(made("binary", {f32({2, 1}, {1, 2}), table}, {{"function", word("sub")}})[0], {2, 3}, {0, -1, -2, -2, -3, -4});
  check(made("binary", {table, f32({}, {4})}, {{"function", word("lt")}})[0], {2, 3}, {1, 1, 1, 0, 0, 0});
  check(made("binary", {i64({3}, {7, -7, 7}), i64({3}, {2, 2, -2})}, {{"function", word("floor_div")}})[0], {3}, {3, -4, -4});
  CHECK_THROWS(made("binary", {i64({2}, {1, 2}), i64({2}, {1, 0})}, {{"function", word("remainder")}}),
               "the binary (binary): divides an integer by zero");
  check(made("where", {boolean({2, 1}, {1, 0}), table, f32({1}, {-1})}, {})[0], {2, 3}, {1, 2, 3, -1, -1, -1});
  check(made("cast", {f32({4}, {1.9, -1.9, kNaN, 0})}, {{"dtype", word("int64")}})[0], {4}, {1, -1, -9223372036854775808.0, 0});
  check(made("cast", {i64({2}, {3, 0})}, {{"dtype", word("bool")}})[0], {2}, {1, 0});
  const Tensors tensors = {{"gain", testing::floats({2}, 3.0f)}, {"shift", testing::floats({2}, 1.0f)}};
  check(made("channel_affine", {f32({1, 2, 2}, {1, 2, 3, 4})}, {{"axis", Dims{1}}}, tensors)[0], {1, 2, 2}, {4, 7, 10, 13});
}

TEST(steps_along_axes) {
  const Given table = f32({2, 3}, {1, 2, 3, 4, 5, 9});
  check(made("reduce", {table}, {{"function", word("mean")}, {"axes", Dims{1}}})[0], {2}, {2, 6});
  check(made("reduce", {table}, {{"function", word("sum")}, {"axes", Dims{0}}, {"keepdims", Dims{1}}})[0], {1, 3}, {5, 7, 12});
  check(made("reduce", {table}, {{"function", word("max")}})[0], {}, {9});
  check(made("reduce", {table}, {{"function", word("var")}, {"axes", Dims{1}}, {"correction", numbers({0})}})[0], {2},
        {2.0 / 3, 14.0 / 3}, 1e-6);
  check(made("reduce", {i64({2, 2}, {1, 2, 3, 4})}, {{"function", word("sum")}, {"axes", Dims{0}}})[0], {2}, {4, 6});
  check(made("reduce", {boolean({2, 2}, {0, 0, 0, 1})}, {{"function", word("any")}, {"axes", Dims{1}}})[0], {2}, {0, 1});
  check(made("reduce", {f32({2, 0}, {})}, {{"function", word("sum")}, {"axes", Dims{1}}})[0], {2}, {0, 0});
  CHECK_THROWS(made("reduce", {f32({2, 0}, {})}, {{"function", word("max")}, {"axes", Dims{1}}}), "without elements");
  check(made("arg_reduce", {table}, {{"function", word("argmax")}, {"axis", Dims{1}}})[0], {2}, {2, 2});
  check(made("arg_reduce", {table}, {{"function", word("argmin")}, {"axis", Dims{0}}, {"keepdims", Dims{1}}})[0], {1, 3},
        {0, 0, 0});
  check(made("cumsum", {table}, {{"axis", Dims{1}}})[0], {2, 3}, {1, 3, 6, 4, 9, 18});
  check(made("softmax", {f32({2, 2}, {0, 0, 5, 5})}, {{"axis", Dims{1}}})[0], {2, 2}, {0.5, 0.5, 0.5, 0.5});
  check(made("softmax", {f32({2, 1}, {0, 0})}, {{"axis", Dims{0}}, {"log", Dims{1}}})[0], {2, 1}, {-0.693147, -0.693147}, 1e-6);
}

TEST(steps_of_norms) {
  const Given pairs = f32({2, 2}, {-1, 1, 3, 7});
  const Tensors tensors = {{"weight", testing::floats({2}, 2.0f)}, {"bias", testing::floats({2}, 1.0f)}};
  check(made("layer_norm", {pairs}, {{"eps", numbers({0})}}, tensors)[0], {2, 2}, {-1, 3, -1, 3});
  check(made("layer_norm", {pairs}, {{"eps", numbers({0})}, {"axes", Dims{2}}})[0], {2, 2},
        {-1.183216, -0.507093, 0.169031, 1.521278}, 1e-6);
  check(made("rms_norm", {pairs}, {{"eps", numbers({0})}})[0], {2, 2}, {-1, 1, 0.557086, 1.299867}, 1e-6);
  check(made("group_norm", {f32({1, 2, 2}, {-1, 1, 3, 7})}, {{"groups", Dims{2}}, {"eps", numbers({0})}}, tensors)[0], {1, 2, 2},
        {-1, 3, -1, 3});
}

TEST(steps_of_order) {
  const Given table = f32({2, 3}, {3, 1, 2, kNaN, 7, 8});
  const auto top = made("topk", {table}, {{"k", Dims{2}}, {"axis", Dims{1}}});
  check(top[0], {2, 2}, {3, 2, kNaN, 8});
  check(top[1], {2, 2}, {0, 2, 0, 2});
  const auto least = made("topk", {i64({3}, {5, -5, 5})}, {{"k", Dims{2}}, {"axis", Dims{0}}, {"largest", Dims{0}}});
  check(least[0], {2}, {-5, 5});
  check(least[1], {2}, {1, 0});
  CHECK_THROWS(made("topk", {table}, {{"k", Dims{4}}, {"axis", Dims{1}}}), "takes 4 of 3 elements");
  const auto sorted = made("sort", {table}, {{"axis", Dims{0}}});
  check(sorted[0], {2, 3}, {3, 1, 2, kNaN, 7, 8});
  check(sorted[1], {2, 3}, {0, 0, 0, 1, 1, 1});
}

}  // namespace
}  // namespace niwaki
