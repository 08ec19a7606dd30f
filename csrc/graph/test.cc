// Validation, shapes and fusion.
#include "base/status.h"
#include "graph/fuse.h"
#include "graph/operators.h"
#include "graph/shapes.h"
#include "testing/test.h"

namespace niwaki {
namespace {

const Quantization kScale{0.1f, 10};

Tensor bytes(DType dtype, std::vector<int64_t> shape, int value) {
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  std::vector<int8_t> data(static_cast<size_t>(count), static_cast<int8_t>(value));
  return Tensor::copy_of(dtype, shape, data.data());
}

Tensors layer(std::vector<int64_t> shape, int weight = 1, int32_t bias = 0, float scale = 0.5f) {
  const auto outputs = static_cast<size_t>(shape[0]);
  return {{"weight", bytes(DType::i8, shape, weight)},
          {"weight_scale", Tensor::copy_of(DType::f32, {shape[0]}, std::vector<float>(outputs, scale).data())},
          {"bias", Tensor::copy_of(DType::i32, {shape[0]}, std::vector<int32_t>(outputs, bias).data())}};
}

// A quantized input of 8 channels to hang nodes on.
struct Start {
  Graph graph;
  int x;
  explicit Start(int rank = 4, int64_t channels = 8) {
    x = graph.add_node(Op::quantize, "in", {graph.add_input("x", channels, rank)}, {}, {}, kScale);
  }
  int add(const char* op, std::vector<int> inputs, Attributes attributes = {}, Tensors tensors = {},
          std::optional<Quantization> q = kScale) {
    return graph.add_node(op, std::string("the ") + op, std::move(inputs), std::move(attributes), std::move(tensors), q);
  }
  // Shape of the last value for an input of `sizes`.
  Shape shape(std::vector<int64_t> sizes) const {
    const std::vector<std::vector<int64_t>> inputs = {std::move(sizes)};
    return infer_shapes(graph, inputs).back();
  }
  FusedGraph fused(int value) {
    graph.add_output(add("dequantize", {value}, {}, {}, std::nullopt), "y");
    return fuse(graph);
  }
};

TEST(graph_operator_table_is_in_order) {
  for (int i = 0; i <= static_cast<int>(Op::channel_shuffle); ++i) {
    const OperatorRule& rule = operator_rule(static_cast<Op>(i));
    CHECK(rule.op == static_cast<Op>(i));
    CHECK(find_operator(rule.name) == &rule);
  }
  CHECK(find_operator("softmax") == nullptr);
}

TEST(graph_refuses_by_name) {
  Start s;
  const size_t before = s.graph.values().size();
  CHECK_THROWS(s.add("softmax", {s.x}), "the softmax: there is no operator 'softmax'");
  CHECK_THROWS(s.add("clamp", {s.x, s.x}), "the clamp (clamp): takes 1 inputs, not 2");
  CHECK_THROWS(s.add("clamp", {99}), "value 99, which does not exist");
  CHECK_THROWS(s.add("clamp", {s.x}, {{"lo", {1}}}), "takes no attribute 'lo'");
  CHECK_THROWS(s.add("clamp", {s.x}, {{"low", {256}}}), "'low' must lie in 0 to 255, not 256");
  CHECK_THROWS(s.add("clamp", {s.x}, {{"low", {9}}, {"high", {8}}}), "low (9) is above high (8)");
  CHECK_THROWS(s.add("clamp", {s.x}, {}, {}, Quantization{0.2f, 10}), "keeps scale and zero point");
  CHECK_THROWS(s.add("clamp", {s.x}, {}, {}, std::nullopt), "needs a scale");
  CHECK_THROWS(s.add("add", {s.x, s.x}, {}, {}, Quantization{0.0f, 1}), "positive and finite");
  CHECK_THROWS(s.add("add", {s.x, s.x}, {}, {}, Quantization{1.0f, 256}), "0 to 255, not 256");
  CHECK_THROWS(s.add("add", {s.x, s.x}, {}, {}, Quantization{1e-30f, 0}), "above 1e25");
  CHECK_THROWS(s.add("max_pool2d", {s.x}), "needs the attribute 'kernel'");
  CHECK_THROWS(s.add("max_pool2d", {s.x}, {{"kernel", {1, 2, 3}}}), "must have 2 integers, not 3");
  CHECK_THROWS(s.add("table", {s.x}), "needs the tensor 'table'");
  CHECK_THROWS(s.add("table", {s.x}, {}, {{"table", bytes(DType::i8, {256}, 0)}}), "table must be uint8, not int8");
  CHECK_THROWS(s.add("table", {s.x}, {}, {{"table", bytes(DType::u8, {255}, 0)}}), "256 elements, not 255");
  CHECK_THROWS(s.add("conv2d", {s.x}, {}, layer({4, 7, 1, 1})), "has 8 channels; 7 are expected");
  CHECK_THROWS(s.add("conv2d", {s.x}, {{"groups", {3}}}, layer({4, 8, 1, 1})), "do not divide into 3 groups");
  CHECK_THROWS(s.add("conv2d", {s.x}, {}, layer({4, 8, 1, 1}, -128)), "-128 in output channel 0");
  CHECK_THROWS(s.add("conv2d", {s.x}, {}, layer({4, 8, 1, 1}, 1, 0, 0.0f)), "weight_scale of output channel 0");
  CHECK_THROWS(s.add("conv2d", {s.x}, {}, layer({4, 8, 1, 1}, 1, 2147483647)), "could overflow int32");
  CHECK_THROWS(s.add("conv2d", {s.x}, {}, layer({1, 8, 91, 92})), "sums 66976 products");
  CHECK_THROWS(s.add("linear", {s.x}, {}, layer({4, 8})), "must have rank 2, not 4");
  CHECK_THROWS(s.add("dequantize", {s.x}), "is float32 and takes no scale");
  CHECK_THROWS(s.add("quantize", {s.x}), "must be a float32 input of the graph");
  CHECK_THROWS(s.add("clamp", {s.graph.inputs()[0].value}), "its input is float32");
  CHECK_THROWS(s.add("reshape", {s.x}, {{"shape", {2, -1}}}), "1 or 3 dimensions");
  CHECK_THROWS(s.add("reshape", {s.x}, {{"shape", {2, -1, -1}}}), "more than one dimension");
  CHECK_THROWS(s.add("channel_shuffle", {s.x}, {{"groups", {3}}}), "do not divide");
  CHECK_THROWS(s.add("slice", {s.x}, {{"axis", {1}}, {"start", {8}}}), "selects no channels of 8");
  CHECK_THROWS(s.graph.add_output(s.x, "y"), "Output 'y': the value is uint8");
  CHECK_THROWS(s.graph.add_output(0, "y"), "is an input of the graph");
  CHECK_THROWS(s.graph.add_input("z", 0, 4), "channels must be at least 1");
  CHECK_THROWS(s.graph.add_input("z", 3, 3), "rank must be 4 or 2");
  const int y = s.add("conv2d", {s.x}, {}, layer({4, 8, 1, 1}), std::nullopt);
  CHECK_THROWS(s.add("clamp", {y}), "its input is float32");
  CHECK_THROWS(s.add("dequantize", {y}), "its input is float32");
  CHECK_THROWS(s.add("conv2d", {s.x, s.x}, {}, layer({8, 8, 1, 1}), std::nullopt), "a residual needs a uint8 output");
  CHECK_EQ(s.graph.values().size(), before + 1);  // what was refused left nothing
  CHECK_EQ(s.graph.nodes().size(), size_t{2});
}

TEST(graph_defaults_and_single_integers) {
  Start s;
  s.add("conv2d", {s.x}, {{"stride", {2}}, {"padding", {1}}}, layer({4, 8, 3, 3}));
  const Node& node = s.graph.nodes().back();
  CHECK(node.integers("stride") == (std::vector<int64_t>{2, 2}));
  CHECK(node.integers("padding") == (std::vector<int64_t>{1, 1, 1, 1}));
  CHECK(node.integers("dilation") == (std::vector<int64_t>{1, 1}));
  CHECK_EQ(node.integer("groups"), 1);
  CHECK_EQ(node.integer("high"), 255);
}

TEST(graph_shapes_of_windows) {
  {
    Start s;
    s.add("conv2d", {s.x}, {{"stride", {2, 3}}, {"padding", {1, 2, 0, 3}}, {"dilation", {2, 1}}}, layer({5, 8, 3, 2}));
    CHECK(s.shape({2, 8, 10, 9}) == (Shape{4, 2, 5, 4, 5}));  // (10 + 1 - 4 - 1) / 2 + 1, (9 + 5 - 1 - 1) / 3 + 1
    CHECK(s.shape({0, 8, 10, 9}) == (Shape{4, 0, 5, 4, 5}));
    CHECK_THROWS(s.shape({1, 8, 3, 9}), "the conv2d (conv2d): an image 3 pixels high is too small");
    CHECK_THROWS(s.shape({1, 7, 9, 9}), "Input 'x' must have the shape [N, 8, H, W], not [1, 7, 9, 9]");
    CHECK_THROWS(s.shape({1, 8, 0, 9}), "only N may be 0");
    CHECK_THROWS(s.shape({1, 8}), "must have the shape");
    CHECK_THROWS(s.shape({1 << 20, 8, 1 << 10, 1 << 10}), "2^31 - 1 pixels");
  }
  // torch.nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode): sizes as torch prints them.
  struct Case {
    int64_t size, kernel, stride, padding, dilation, ceil, expected;
  };
  for (const Case& c :
       {Case{112, 3, 2, 1, 1, 0, 56}, Case{112, 3, 2, 0, 1, 1, 56}, Case{5, 2, 2, 0, 1, 1, 3}, Case{5, 2, 2, 0, 1, 0, 2},
        Case{4, 1, 3, 0, 1, 1, 2}, Case{4, 1, 4, 0, 1, 1, 1}, Case{3, 2, 3, 1, 1, 1, 2}, Case{2, 2, 3, 1, 1, 1, 1},
        Case{7, 3, 1, 1, 2, 0, 5}, Case{1, 3, 2, 1, 1, 0, 1}, Case{55, 3, 2, 0, 1, 1, 27}, Case{54, 3, 2, 0, 1, 1, 27}}) {
    Start s;
    s.add("max_pool2d", {s.x},
          {{"kernel", {c.kernel}},
           {"stride", {c.stride}},
           {"padding", {c.padding}},
           {"dilation", {c.dilation}},
           {"ceil_mode", {c.ceil}}});
    CHECK_EQ(s.shape({1, 8, c.size, c.size}).height, c.expected);
    CHECK_EQ(s.shape({1, 8, c.size, c.size}).width, c.expected);
  }
  Start s;
  s.add("avg_pool2d", {s.x}, {{"kernel", {2}}, {"padding", {3}}});
  CHECK_THROWS(s.shape({1, 8, 4, 4}), "wholly in the padding");
}

TEST(graph_shapes_of_the_rest) {
  {
    Start s;
    s.add("slice", {s.x}, {{"axis", {2}}, {"start", {-5}}, {"end", {-1}}, {"step", {2}}});
    CHECK(s.shape({1, 8, 9, 3}) == (Shape{4, 1, 8, 2, 3}));
    CHECK(s.shape({1, 8, 3, 3}) == (Shape{4, 1, 8, 1, 3}));
    CHECK_THROWS(s.shape({1, 8, 1, 3}), "selects nothing");
  }
  {
    Start s;
    const int c = s.add("concat", {s.x, s.x, s.add("slice", {s.x}, {{"axis", {1}}, {"end", {3}}})});
    CHECK_EQ(s.graph.value(c).channels, 19);
    s.add("pad", {c}, {{"padding", {1, 2, 3, 4, 5, 6}}});
    CHECK(s.shape({2, 8, 4, 5}) == (Shape{4, 2, 22, 11, 16}));
  }
  {
    Start s;
    const int large = s.add("upsample_nearest2d", {s.x}, {{"scale", {2, 3}}});
    CHECK_EQ(s.graph.value(large).channels, 8);
    CHECK(s.shape({2, 8, 4, 5}) == (Shape{4, 2, 8, 8, 15}));
    const int flat = s.add("reshape", {large}, {{"shape", {-1}}});
    CHECK_THROWS(s.add("upsample_nearest2d", {flat}, {{"scale", {2, 2}}}), "rank");
    CHECK_THROWS(s.add("upsample_nearest2d", {large}, {{"scale", {0, 2}}}), "scale");
  }
  {
    Start s;
    const int flat = s.add("reshape", {s.x}, {{"shape", {-1}}});
    CHECK_EQ(s.graph.value(flat).channels, -1);
    CHECK(s.shape({2, 8, 3, 5}) == (Shape{2, 2, 120, 1, 1}));
    s.add("linear", {flat}, {}, layer({6, 120}));
    CHECK(s.shape({2, 8, 3, 5}) == (Shape{2, 2, 6, 1, 1}));
    CHECK_THROWS(s.shape({2, 8, 3, 4}), "the linear (linear): its input has 96 channels; 120 are expected");
  }
  {
    Start s;
    s.add("reshape", {s.x}, {{"shape", {4, -1, 3}}});
    CHECK(s.shape({2, 8, 3, 5}) == (Shape{4, 2, 4, 10, 3}));
    CHECK_THROWS(s.shape({2, 8, 1, 5}), "cannot give the 40 elements of an image the shape [4, -1, 3]");
  }
  {
    Start s;
    const int one = s.add("adaptive_avg_pool2d", {s.x}, {{"size", {1}}});
    s.add("mul", {s.x, one});
    CHECK(s.shape({2, 8, 3, 5}) == (Shape{4, 2, 8, 3, 5}));
    s.add("add", {s.x, one});
    CHECK_THROWS(s.shape({2, 8, 3, 5}), "[2, 8, 3, 5] and [2, 8, 1, 1]");
  }
}

TEST(fuse_clamp_into_the_one_before) {
  Start s;
  int v = s.add("conv2d", {s.x}, {{"low", {5}}, {"high", {200}}}, layer({8, 8, 1, 1}));
  v = s.add("clamp", {v}, {{"low", {10}}});
  v = s.add("clamp", {v}, {{"high", {100}}});
  const FusedGraph f = s.fused(v);
  REQUIRE(f.graph.nodes().size() == 3);
  CHECK_EQ(f.graph.nodes()[1].integer("low"), 10);
  CHECK_EQ(f.graph.nodes()[1].integer("high"), 100);
  CHECK(f.fused[1] == (std::vector<std::string>{"the clamp", "the clamp"}));
  CHECK_EQ(f.graph.nodes()[1].output, v);
  CHECK_EQ(f.graph.value(v).node, 1);
}

TEST(fuse_clamp_not_where_both_are_read) {
  Start s;
  const int conv = s.add("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
  const int v = s.add("add", {conv, s.add("clamp", {conv}, {{"low", {10}}})});
  const FusedGraph f = s.fused(v);
  CHECK_EQ(f.graph.nodes().size(), size_t{5});
}

TEST(fuse_clamp_into_table_and_away) {
  Start s;
  std::vector<uint8_t> table(256);
  for (int i = 0; i < 256; ++i) table[static_cast<size_t>(i)] = static_cast<uint8_t>(i);
  int v = s.add("table", {s.x}, {}, {{"table", Tensor::copy_of(DType::u8, {256}, table.data())}});
  v = s.add("clamp", {v}, {{"low", {3}}, {"high", {9}}});
  v = s.add("clamp", {v});
  const FusedGraph f = s.fused(v);
  REQUIRE(f.graph.nodes().size() == 3);
  CHECK_EQ(f.graph.nodes()[1].tensor("table").data()[0], 3);
  CHECK_EQ(f.graph.nodes()[1].tensor("table").data()[200], 9);
  CHECK_EQ(s.graph.nodes()[1].tensor("table").data()[0], 0);  // the caller's graph is untouched
}

TEST(fuse_add_into_the_later_convolution) {
  Start s;
  const int a = s.add("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
  const int b = s.add("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
  int v = s.add("add", {b, a}, {}, {}, Quantization{0.3f, 7});
  v = s.add("clamp", {v}, {{"low", {7}}}, {}, Quantization{0.3f, 7});
  const FusedGraph f = s.fused(v);
  REQUIRE(f.graph.nodes().size() == 4);
  const Node& conv = f.graph.nodes()[2];
  CHECK(conv.inputs == (std::vector<int>{s.x, a}));
  CHECK_EQ(conv.output, v);
  CHECK_EQ(conv.integer("low"), 7);
  CHECK(f.fused[2] == (std::vector<std::string>{"the add", "the clamp"}));
}

TEST(fuse_add_refused) {
  const auto steps = [](auto&& build) {
    Start s;
    const int v = build(s);
    return s.fused(v).graph.nodes().size();
  };
  // its own bounds
  CHECK_EQ(steps([](Start& s) { return s.add("add", {s.x, s.add("conv2d", {s.x}, {{"low", {10}}}, layer({8, 8, 1, 1}))}); }),
           size_t{4});
  // depthwise
  CHECK_EQ(steps([](Start& s) { return s.add("add", {s.x, s.add("conv2d", {s.x}, {{"groups", {8}}}, layer({8, 1, 1, 1}))}); }),
           size_t{4});
  // twice the same
  CHECK_EQ(steps([](Start& s) {
             const int c = s.add("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
             return s.add("add", {c, c});
           }),
           size_t{4});
  // someone else reads it
  CHECK_EQ(steps([](Start& s) {
             const int c = s.add("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
             return s.add("concat", {c, s.add("add", {s.x, c})});
           }),
           size_t{5});
  // a ReLU at zero point 0: nothing but the end of the range
  CHECK_EQ(steps([](Start& s) {
             const int c = s.add("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
             return s.add("add", {s.x, s.add("clamp", {c}, {{"low", {0}}})});
           }),
           size_t{4});
  // and where nothing hinders
  CHECK_EQ(steps([](Start& s) { return s.add("add", {s.x, s.add("conv2d", {s.x}, {}, layer({8, 8, 1, 1}))}); }), size_t{3});
}

TEST(fuse_drops_what_nobody_needs) {
  Start s;
  s.add("clamp", {s.add("conv2d", {s.x}, {}, layer({8, 8, 1, 1}))}, {{"low", {3}}});
  const FusedGraph f = s.fused(s.x);
  CHECK_EQ(f.graph.nodes().size(), size_t{2});
}

}  // namespace
}  // namespace niwaki
