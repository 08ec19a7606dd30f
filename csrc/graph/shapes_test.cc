// Shapes of a graph for given sizes of its inputs.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(shapes_bind_free_sizes) {
  Net net;
  const Dim batch = net.graph.add_size("batch", 1, 16), tokens = net.graph.add_size("tokens", 2),
            fixed = net.graph.add_size("kind", 3, 3);
  net.graph.add_input("ids", DType::i64, {batch, tokens});
  net.graph.add_input("pairs", DType::f32, {tokens * 2 + 1, batch, 4});
  net.graph.add_input("kind", DType::f32, {fixed});
  const Inferred inferred = infer_shapes(net.graph, std::vector<Sizes>{{2, 5}, {11, 2, 4}, {3}});
  CHECK(inferred.sizes == (Sizes{2, 5, 3}));
  const std::string ids = "Input 'ids' must have the shape [batch, tokens], not ",
                    pairs = "Input 'pairs' must have the shape [tokens * 2 + 1, batch, 4], not ";
  const auto attempt = [&](std::vector<Sizes> inputs) -> std::string {
    try {
      infer_shapes(net.graph, inputs);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  CHECK_EQ(attempt({{2, 5}, {11, 2, 4}}), "The network takes 3 inputs, not 2.");
  CHECK_EQ(attempt({{2, 5, 1}, {11, 2, 4}, {3}}), ids + "[2, 5, 1]: it has 3 dims.");
  CHECK_EQ(attempt({{0, 5}, {11, 0, 4}, {3}}), ids + "[0, 5]: dim 0 (batch) must be from 1 to 16.");
  CHECK_EQ(attempt({{2, 1}, {3, 2, 4}, {3}}), ids + "[2, 1]: dim 1 (tokens) must be from 2 to 2^31 - 1.");
  CHECK_EQ(attempt({{2, int64_t{1} << 31}, {3, 2, 4}, {3}}), ids + "[2, 2147483648]: dim 1 (tokens) must be from 0 to 2^31 - 1.");
  CHECK_EQ(attempt({{2, 5}, {11, 3, 4}, {3}}), pairs + "[11, 3, 4]: dim 1 (batch) must be 2, as it is in input 'ids'.");
  CHECK_EQ(attempt({{2, 5}, {12, 2, 4}, {3}}), pairs + "[12, 2, 4]: dim 0 (tokens * 2 + 1) must be 11.");
  CHECK_EQ(attempt({{2, 5}, {11, 2, 5}, {3}}), pairs + "[11, 2, 5]: dim 2 must be 4.");
  CHECK_EQ(attempt({{2, 5}, {11, 2, 4}, {4}}), "Input 'kind' must have the shape [kind], not [4]: dim 0 (kind) must be 3.");
  net.graph.add_size("lost");
  CHECK_EQ(attempt({{2, 5}, {11, 2, 4}, {3}}), "The free size 'lost' is the size of no input.");
}

TEST(shapes_of_expressions_that_are_no_numbers) {
  Net net;
  const Dim height = net.size("height");
  net.graph.add_input("x", DType::f32, {height});
  net.graph.add_input("y", DType::f32, {floor_div(Dim(100), height - 4)});
  CHECK_THROWS(net.shape({{4}, {1}}),
               "Input 'y' must have the shape [100 // (height - 4)], not [1]: dim 0 (100 // (height - 4)) must be a number, but "
               "the size 100 // 0 divides by zero");
  Net other;
  const int x = other.input("x", DType::f32, {"height"});
  const Dim wide = other.size("height");
  other.add("tile", {x}, {{"repeats", Dims{mod(Dim(7), wide)}}});
  CHECK_EQ(other.shape({{4}}), "12");
  CHECK_THROWS(other.shape({{0}}),
               "the tile (tile): attribute 'repeats' is no number for these inputs: the size 7 % 0 divides by zero");
}

TEST(shapes_have_limits) {
  Net net;
  const int x = net.input("x", DType::f32, {"rows", "columns"});
  const int y = net.add("tile", {x}, {{"repeats", Dims{1 << 20, 1 << 20}}});
  CHECK_EQ(net.shape({{1, 1}}, y), "1048576 1048576");  // 2^40 elements
  CHECK_EQ(net.shape({{0, 2047}}, y), "0 2146435072");
  CHECK_THROWS(net.shape({{1, 2}}), "2^40 in all are the most");
  CHECK_THROWS(net.shape({{2048, 0}}),
               "the tile (tile): its output [2147483648, 0] is too large: 2^31 - 1 elements along an axis");
  CHECK_THROWS(net.shape({{1 << 21, 1 << 20}}), "Input 'x' [2097152, 1048576] is too large: 2^40 elements are the most");
  CHECK_THROWS(net.shape({{INT32_MAX, INT32_MAX}}), "too large");
  Net other;  // without elements: its steps would not fit 64 bits
  other.input("x", DType::f32, {"a", "b", "c", "d"});
  CHECK_THROWS(other.shape({{0, INT32_MAX, INT32_MAX, INT32_MAX}}), "too large");
}

TEST(shapes_of_uint8_values_fit_planes) {
  for (const Sizes& good : {Sizes{1 << 20, 1, 1 << 10, 1}, Sizes{2, 1 << 10, 1 << 10, 1 << 10}}) {
    Images s({"a", "b", "c", "d"});
    CHECK_EQ(s.shape({good}), text(good));
  }
  // Over the second axis: 2^31 pixels of one channel; over the last one: as many pixels of one channel.
  for (const Sizes& bad :
       {Sizes{1 << 11, 1, 1 << 10, 1 << 10}, Sizes{1 << 11, 1 << 10, 1 << 10, 1}, Sizes{1 << 11, 1 << 20, 1, 2}}) {
    Images s({"a", "b", "c", "d"});
    CHECK_THROWS(s.shape({bad}), "the quantize (quantize): its output [");
  }
  // Four channels are one lane: rounding up may not overflow.
  Images s({"a", "b"});
  CHECK_THROWS(s.shape({{1, INT32_MAX}}), "is too large: a uint8 value may have");
  CHECK_THROWS(s.shape({{INT32_MAX, 1}}), "is too large");
  CHECK_EQ(s.shape({{1, INT32_MAX - 8}}), "1 2147483639");
  Images flat({"a"});
  CHECK_THROWS(flat.shape({{INT32_MAX}}), "is too large");
}

TEST(shapes_count_products) {
  const auto count = [](const char* op, const std::vector<Input>& inputs, const Attributes& attributes, const Tensors& tensors) {
    Net net;
    std::vector<int> values;
    std::vector<Sizes> shapes;
    for (const Input& input : inputs) {
      const int value = net.graph.add_input("x", DType::f32, Dims(input.shape.begin(), input.shape.end()));
      values.push_back(input.dtype == DType::u8 ? net.add_u8("quantize", {value}) : value);
      shapes.push_back(input.shape);
    }
    net.add(op, values, attributes, tensors);
    const Inferred inferred = infer_shapes(net.graph, shapes);
    return count_macs(net.graph.nodes().back(), shapes,
                      std::vector<Sizes>{inferred.shapes[static_cast<size_t>(net.graph.nodes().back().outputs[0])]});
  };
  CHECK_EQ(count("conv2d", {u8({2, 8, 5, 5})}, {}, layer({4, 8, 3, 3})), int64_t{2 * 9 * 4 * 8 * 9});
  CHECK_EQ(count("linear", {u8({2, 7, 8})}, {}, layer({4, 8})), int64_t{2 * 7 * 4 * 8});
  CHECK_EQ(count("matmul", {f32({2, 5, 3}), f32({3, 4})}, {}, {}), int64_t{2 * 5 * 4 * 3});
  CHECK_EQ(count("attention", {f32({2, 5, 3}), f32({2, 7, 3}), f32({2, 7, 4})}, {{"scale", numbers({1})}}, {}),
           int64_t{2 * 5 * 7 * (3 + 4)});
  CHECK_EQ(count("convolution", {f32({2, 8, 5})}, {{"transposed", Dims{1}}}, {{"weight", floats({8, 4, 3})}}),
           int64_t{2 * 5 * 8 * 4 * 3});
  CHECK_EQ(count("softmax", {f32({2, 8})}, {{"axis", Dims{1}}}, {}), int64_t{0});
}

// A network of one float32 input [batch, 3, tokens] or two, whose images may be run apart, or not.
struct Batches : Net {
  int x = input("x", DType::f32, {"batch", "3", "tokens"});
  Dim batch = size("batch");
  bool holds(int value, std::vector<Sizes> inputs = {{4, 3, 5}}) {
    graph.add_output(value, "y");
    return is_local(inputs);
  }
};

TEST(shapes_batches_that_run_apart) {
  const auto holds = [](auto&& build) {
    Batches net;
    return net.holds(build(net));
  };
  const Attributes add = {{"function", word("add")}};
  const auto constant = [](Batches& net, Sizes shape) {
    return net.add("constant", {}, {}, {{"value", floats(std::move(shape))}});
  };
  CHECK(holds([&](Batches& n) { return n.add("softmax", {n.x}, {{"axis", Dims{2}}}); }));
  CHECK(!holds([&](Batches& n) { return n.add("softmax", {n.x}, {{"axis", Dims{0}}}); }));
  CHECK(holds([&](Batches& n) { return n.add("binary", {n.x, constant(n, {1, 3, 1})}, add); }));
  CHECK(holds([&](Batches& n) { return n.add("binary", {n.x, constant(n, {3, 1})}, add); }));
  CHECK(!holds([&](Batches& n) { return n.add("binary", {n.x, constant(n, {4, 3, 1})}, add); }));  // four images, and no others
  CHECK(!holds([&](Batches& n) { return n.add("binary", {n.x, constant(n, {1, 1, 1, 1})}, add); }));
  CHECK(holds([&](Batches& n) { return n.add("reshape", {n.x}, {{"shape", Dims{n.batch, -1}}}); }));
  CHECK(!holds([&](Batches& n) { return n.add("reshape", {n.x}, {{"shape", Dims{-1, 3}}}); }));
  CHECK(!holds([&](Batches& n) { return n.add("permute", {n.x}, {{"axes", Dims{1, 0, 2}}}); }));
  CHECK(holds([&](Batches& n) { return n.add("reduce", {n.x}, {{"function", word("sum")}, {"axes", Dims{1, 2}}}); }));
  CHECK(!holds([&](Batches& n) { return n.add("reduce", {n.x}, {{"function", word("sum")}}); }));
  // A token for each image, from one that all share.
  CHECK(holds([&](Batches& n) {
    const int token = n.add("expand", {constant(n, {1, 3, 1})}, {{"shape", Dims{n.batch, -1, -1}}});
    return n.add("concat", {token, n.x}, {{"axis", Dims{2}}});
  }));
  CHECK(!holds([&](Batches& n) { return n.add("concat", {constant(n, {4, 3, 1}), n.x}, {{"axis", Dims{2}}}); }));
  // Sizes that follow the number of images elsewhere.
  CHECK(!holds([&](Batches& n) { return n.add("slice", {n.x}, {{"axis", Dims{2}}, {"end", Dims{n.batch}}}); }));
  CHECK(!holds([&](Batches& n) {
    const int count = n.add("cast", {n.add("size", {}, {{"value", Dims{n.batch}}})}, {{"dtype", word("float32")}});
    return n.add("binary", {n.x, count}, {{"function", word("div")}});
  }));
  CHECK(holds([&](Batches& n) {
    const int count = n.add("cast", {n.add("size", {}, {{"value", Dims{n.size("tokens")}}})}, {{"dtype", word("float32")}});
    return n.add("binary", {n.x, count}, {{"function", word("div")}});
  }));
  CHECK(holds([&](Batches& n) { return n.add("matmul", {n.x, constant(n, {5, 2})}); }));
  CHECK(holds([&](Batches& n) { return n.add("matmul", {constant(n, {2, 3}), n.x}); }));
  CHECK(!holds([&](Batches& n) {
    const int rows = n.add("reshape", {n.x}, {{"shape", Dims{n.batch, -1}}});
    return n.add("matmul", {rows, rows}, {{"transpose_b", Dims{1}}});  // each image with each other
  }));
  CHECK(!holds([&](Batches& n) { return constant(n, {4, 3}); }));
}

TEST(shapes_batches_of_tables) {
  Net net;
  const int ids = net.input("ids", DType::i64, {"batch", "tokens"});
  const int table = net.add("constant", {}, {}, {{"value", floats({10, 3})}});
  const int rows = net.add("take", {table, ids}, {{"axis", Dims{0}}});
  net.graph.add_output(rows, "y");
  CHECK(net.is_local({{4, 5}}));
  const int first = net.add(
      "take", {rows, net.add("constant", {}, {}, {{"value", Tensor::copy_of(DType::i64, {}, std::vector<int64_t>{0}.data())}})},
      {{"axis", Dims{0}}});
  net.graph.add_output(first, "z");
  CHECK(!net.is_local({{4, 5}}));
}

TEST(shapes_batches_of_unlike_inputs) {
  const auto holds = [](const std::vector<std::string>& x, const std::vector<std::string>& y, std::vector<Sizes> sizes) {
    Net net;
    net.graph.add_output(net.input("x", DType::f32, x), "x");
    net.graph.add_output(net.input("y", DType::f32, y), "y");
    return net.is_local(sizes);
  };
  CHECK(holds({"batch", "3"}, {"batch", "4"}, {{2, 3}, {2, 4}}));
  CHECK(holds({"batch", "3"}, {"other", "4"}, {{2, 3}, {2, 4}}));
  CHECK(!holds({"batch", "3"}, {"other", "4"}, {{2, 3}, {5, 4}}));
  CHECK(!holds({"batch", "3"}, {"2", "4"}, {{2, 3}, {2, 4}}));
  CHECK(!holds({"batch", "3"}, {"other", "batch"}, {{2, 3}, {2, 2}}));
  Net net;
  net.graph.add_output(net.input("x", DType::f32, {"batch"}), "y");
  CHECK(net.is_local({{4}}));
  net.graph.add_guard({{{{net.size("batch"), Relation::not_equal, 3}}}, "Input 'x': dim 0 (batch) must not be 3."});
  CHECK(!net.is_local({{4}}));
  Net kept;
  kept.graph.add_output(kept.input("x", DType::f32, {"batch"}), "y");
  kept.graph.add_state("h", floats({2}));
  CHECK(!kept.is_local({{4}}));
}

}  // namespace
}  // namespace niwaki
