// Fusion.
#include <functional>

#include "graph/fused_parts.h"
#include "graph/heads.h"
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(fuse_clamp_into_the_one_before) {
  Images s;
  int v = s.add_u8("conv2d", {s.x}, {{"low", Dims{5}}, {"high", Dims{200}}}, layer({8, 8, 1, 1}));
  v = s.add_u8("clamp", {v}, {{"low", Dims{10}}});
  v = s.add_u8("clamp", {v}, {{"high", Dims{100}}});
  const FusedGraph f = s.fused(v);
  REQUIRE(f.graph.nodes().size() == 3);
  CHECK_EQ(f.graph.nodes()[1].integer("low"), 10);
  CHECK_EQ(f.graph.nodes()[1].integer("high"), 100);
  CHECK(f.fused[1] == (std::vector<std::string>{"the clamp", "the clamp"}));
  CHECK_EQ(f.graph.nodes()[1].outputs[0], v);
  CHECK_EQ(f.graph.value(v).node, 1);
  CHECK_EQ(f.graph.value(v - 1).node, -2);
}

TEST(fuse_clamp_not_where_both_are_read) {
  Images s;
  const int conv = s.add_u8("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
  const int v = s.add_u8("add", {conv, s.add_u8("clamp", {conv}, {{"low", Dims{10}}})});
  const FusedGraph f = s.fused(v);
  CHECK_EQ(f.graph.nodes().size(), size_t{5});
}

TEST(fuse_clamp_into_table_and_away) {
  Images s;
  std::vector<uint8_t> table(256);
  for (int i = 0; i < 256; ++i) table[static_cast<size_t>(i)] = static_cast<uint8_t>(i);
  int v = s.add_u8("table", {s.x}, {}, {{"table", Tensor::copy_of(DType::u8, {256}, table.data())}});
  v = s.add_u8("clamp", {v}, {{"low", Dims{3}}, {"high", Dims{9}}});
  v = s.add_u8("clamp", {v});
  const FusedGraph f = s.fused(v);
  REQUIRE(f.graph.nodes().size() == 3);
  CHECK_EQ(f.graph.nodes()[1].tensor("table").data()[0], 3);
  CHECK_EQ(f.graph.nodes()[1].tensor("table").data()[200], 9);
  CHECK_EQ(s.graph.nodes()[1].tensor("table").data()[0], 0);  // the caller's graph is untouched
}

TEST(fuse_cast_into_the_places_before_it) {
  // What each cast makes, and what else reads the places: whether it goes into the arg_reduce, which then writes that type.
  const auto fused = [](const char* to, bool read_elsewhere) {
    Graph graph;
    const int x = graph.add_input("x", DType::f32, {graph.add_size("batch"), 5});
    const int where = graph.add_node("arg_reduce", "where", {x}, {{"function", std::string("argmax")}, {"axis", Dims{1}}}, {});
    const int cast = graph.add_node("cast", "cast", {where}, {{"dtype", std::string(to)}}, {});
    graph.add_output(cast, "cast");
    if (read_elsewhere) graph.add_output(where, "where");
    FusedGraph f = fuse(graph);
    const bool gone = f.graph.nodes().size() == 1;
    if (gone) {
      CHECK_EQ(f.graph.nodes()[0].outputs[0], cast);
      CHECK(f.graph.value(cast).node == 0 && f.graph.value(where).node == -2);
      CHECK(f.fused[0] == std::vector<std::string>{"cast"});
    }
    return gone;
  };
  for (const char* to : {"byte", "int8", "int32"}) CHECK(fused(to, false));
  for (const char* to : {"float32", "bool"}) CHECK(!fused(to, false));
  CHECK(!fused("byte", true));
}

TEST(fuse_add_into_the_later_layer) {
  Images s;
  const int a = s.add_u8("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
  const int b = s.add_u8("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
  int v = s.add("add", {b, a}, {}, {}, Quantization{0.3f, 7});
  v = s.add("clamp", {v}, {{"low", Dims{7}}}, {}, Quantization{0.3f, 7});
  const FusedGraph f = s.fused(v);
  REQUIRE(f.graph.nodes().size() == 4);
  const Node& conv = f.graph.nodes()[2];
  CHECK(conv.inputs == (std::vector<int>{s.x, a}));
  CHECK_EQ(conv.outputs[0], v);
  CHECK_EQ(conv.integer("low"), 7);
  CHECK(f.fused[2] == (std::vector<std::string>{"the add", "the clamp"}));
  CHECK_EQ(text(infer_shapes(f.graph, std::vector<Sizes>{{2, 8, 3, 3}}).shapes[static_cast<size_t>(v)]), "2 8 3 3");
}

TEST(fuse_add_into_linear_of_any_rank) {
  Images s({"batch", "tokens", "8"});
  const int v = s.add_u8("add", {s.x, s.add_u8("linear", {s.x}, {}, layer({8, 8}))});
  CHECK_EQ(s.fused(v).graph.nodes().size(), size_t{3});
}

TEST(fuse_add_refused) {
  const auto steps = [](auto&& build) {
    Images s;
    const int v = build(s);
    return s.fused(v).graph.nodes().size();
  };
  const auto conv = [](Images& s, Attributes attributes = {}, Sizes weight = {8, 8, 1, 1}, float scale = 0.5f) {
    return s.add_u8("conv2d", {s.x}, std::move(attributes), layer(std::move(weight), 1, 0, scale));
  };
  // its own bounds
  CHECK_EQ(steps([&](Images& s) { return s.add_u8("add", {s.x, conv(s, {{"low", Dims{10}}})}); }), size_t{4});
  // depthwise
  CHECK_EQ(steps([&](Images& s) { return s.add_u8("add", {s.x, conv(s, {{"groups", Dims{8}}}, {8, 1, 1, 1})}); }), size_t{4});
  // twice the same
  CHECK_EQ(steps([&](Images& s) {
             const int c = conv(s);
             return s.add_u8("add", {c, c});
           }),
           size_t{4});
  // someone else reads it
  CHECK_EQ(steps([&](Images& s) {
             const int c = conv(s);
             return s.add_u8("concat", {c, s.add_u8("add", {s.x, c})}, {{"axis", Dims{1}}});
           }),
           size_t{5});
  // a ReLU at zero point 0: nothing but the end of the range
  CHECK_EQ(steps([&](Images& s) { return s.add_u8("add", {s.x, s.add_u8("clamp", {conv(s)}, {{"low", Dims{0}}})}); }), size_t{4});
  // a factor that would be too large in the scale of the sum
  CHECK_EQ(steps([&](Images& s) {
             const int c = s.add("conv2d", {s.x}, {}, layer({8, 8, 1, 1}, 1, 0, 1e10f), Quantization{1e5f, 0});
             const int v = s.add("add", {s.x, c}, {}, {}, Quantization{1e-18f, 0});
             return v;
           }),
           size_t{4});
  // and where nothing hinders
  CHECK_EQ(steps([&](Images& s) { return s.add_u8("add", {s.x, conv(s)}); }), size_t{3});
}

Tensors table_of(uint8_t entry) {
  return {{"table", Tensor::copy_of(DType::u8, {256}, std::vector<uint8_t>(256, entry).data())}};
}

TEST(fuse_table_and_prelu_into_the_layer_before) {
  // Behind a sum that went into the layer, too.
  Images s;
  const int conv = s.add_u8("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
  const int sum = s.add("add", {s.x, conv}, {}, {}, Quantization{0.3f, 7});
  int v = s.add("table", {sum}, {}, table_of(9), Quantization{0.25f, 3});
  v = s.add("prelu", {s.add("conv2d", {v}, {}, layer({8, 8, 1, 1}), Quantization{0.7f, 100})},
            {{"low", Dims{2}}, {"high", Dims{99}}}, {{"slope", floats({8}, 0.1f)}}, Quantization{0.4f, 4});
  const FusedGraph f = s.fused(v);
  REQUIRE(f.graph.nodes().size() == 4);
  const Node &first = f.graph.nodes()[1], &second = f.graph.nodes()[2];
  CHECK(f.fused[1] == (std::vector<std::string>{"the add", "the table"}));
  CHECK(sums_quantization(f.graph, first) == (Quantization{0.3f, 7}));
  CHECK(f.graph.value(first.outputs[0]).quantization == (Quantization{0.25f, 3}));
  CHECK_EQ(first.tensor("table").data()[0], 9);
  CHECK(sums_quantization(f.graph, second) == (Quantization{0.7f, 100}));
  CHECK(second.integers(kSlopeBounds) == (std::vector<int64_t>{2, 99}));
  CHECK_EQ(second.tensor("slope").as<float>()[7], 0.1f);
  CHECK_EQ(second.outputs[0], v);
}

TEST(fuse_table_refused) {
  const auto steps = [](auto&& build) {
    Images s;
    const int v = build(s);
    return s.fused(v).graph.nodes().size();
  };
  // someone else reads what is looked up
  CHECK_EQ(steps([&](Images& s) {
             const int conv = s.add_u8("conv2d", {s.x}, {}, layer({8, 8, 1, 1}));
             return s.add_u8("add", {conv, s.add_u8("table", {conv}, {}, table_of(1))});
           }),
           size_t{5});
  // a second one, and a sum behind it: the layer has done its work by then
  CHECK_EQ(steps([&](Images& s) {
             const int once = s.add_u8("table", {s.add_u8("conv2d", {s.x}, {}, layer({8, 8, 1, 1}))}, {}, table_of(1));
             return s.add_u8("add", {s.x, s.add_u8("table", {once}, {}, table_of(2))});
           }),
           size_t{5});
  // no layer
  CHECK_EQ(steps([&](Images& s) { return s.add_u8("table", {s.add_u8("add", {s.x, s.x})}, {}, table_of(1)); }), size_t{4});
  // tokens, whose channels are not a prelu's
  Images tokens({"batch", "tokens", "8"});
  const int layer_of_tokens = tokens.add_u8("linear", {tokens.x}, {}, layer({8, 8}));
  CHECK_EQ(tokens.fused(tokens.add_u8("table", {layer_of_tokens}, {}, table_of(1))).graph.nodes().size(), size_t{3});
}

TEST(fuse_drops_what_nobody_needs) {
  Images s;
  s.add_u8("clamp", {s.add_u8("conv2d", {s.x}, {}, layer({8, 8, 1, 1}))}, {{"low", Dims{3}}});
  const FusedGraph f = s.fused(s.x);
  CHECK_EQ(f.graph.nodes().size(), size_t{2});
  // Both values of a node, or one; what a state becomes.
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "4"});
  const int h = net.graph.add_state("h", floats({1, 4}));
  net.add("sort", {x}, {{"axis", Dims{1}}});
  const int best = net.add("topk", {x}, {{"k", Dims{2}}, {"axis", Dims{1}}});
  net.graph.add_output(best + 1, "where");
  net.graph.set_state(h, net.add("unary", {h}, {{"function", word("exp")}}));
  const FusedGraph other = fuse(net.graph);
  REQUIRE(other.graph.nodes().size() == 2);
  CHECK(other.graph.nodes()[0].op == Op::topk);
  CHECK(other.graph.nodes()[1].op == Op::unary);
  CHECK_EQ(other.graph.value(best + 1).node, 0);
}

// A float32 network of which `build` makes the output; how many nodes are left.
size_t nodes_left(const std::function<int(Net&, int)>& build) {
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "4", "height", "width"});
  net.graph.add_output(net.add("unary", {build(net, x)}, {{"function", word("exp")}}), "y");
  const FusedGraph f = fuse(net.graph);
  const std::vector<Sizes> inputs = {{2, 4, 6, 5}};
  CHECK(infer_shapes(f.graph, inputs).shapes.back() == infer_shapes(net.graph, inputs).shapes.back());
  return f.graph.nodes().size();
}

TEST(fuse_moves_that_change_nothing) {
  CHECK_EQ(nodes_left([](Net& net, int x) { return net.add("cast", {x}, {{"dtype", word("float32")}}); }), size_t{1});
  CHECK_EQ(nodes_left([](Net& net, int x) { return net.add("permute", {x}, {{"axes", Dims{0, 1, 2, 3}}}); }), size_t{1});
  CHECK_EQ(nodes_left([](Net& net, int x) { return net.add("expand", {x}, {{"shape", Dims{-1, 4, -1, net.size("width")}}}); }),
           size_t{1});
  CHECK_EQ(nodes_left([](Net& net, int x) {
             return net.add("reshape", {x}, {{"shape", Dims{net.size("batch"), 4, -1, net.size("width")}}});
           }),
           size_t{1});
  CHECK_EQ(nodes_left([](Net& net, int x) {
             return net.add("reshape", {x}, {{"shape", Dims{net.size("batch"), 4, net.size("width"), -1}}});
           }),
           size_t{2});
  CHECK_EQ(nodes_left([](Net& net, int x) {
             return net.add("cast", {net.add("cast", {x}, {{"dtype", word("int64")}})}, {{"dtype", word("float32")}});
           }),
           size_t{3});
}

TEST(fuse_moves_of_moves) {
  CHECK_EQ(nodes_left([](Net& net, int x) {
             const int flat = net.add("reshape", {x}, {{"shape", Dims{net.size("batch"), -1}}});
             return net.add("reshape", {flat}, {{"shape", Dims{net.size("batch"), 2, -1}}});
           }),
           size_t{2});
  CHECK_EQ(nodes_left([](Net& net, int x) {
             const int turned = net.add("permute", {x}, {{"axes", Dims{0, 2, 3, 1}}});
             return net.add("permute", {turned}, {{"axes", Dims{0, 3, 1, 2}}});  // and back
           }),
           size_t{1});
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "4", "height", "width"});
  const int turned = net.add("permute", {x}, {{"axes", Dims{1, 2, 3, 0}}}),
            again = net.add("permute", {turned}, {{"axes", Dims{1, 0, 2, 3}}});
  net.graph.add_output(again, "y");
  net.graph.add_output(turned, "z");
  const FusedGraph f = fuse(net.graph);
  REQUIRE(f.graph.nodes().size() == 2);  // the first one has a reader outside
  CHECK(f.graph.nodes()[1].inputs == (std::vector<int>{x}));
  CHECK(f.graph.nodes()[1].integers("axes") == (std::vector<int64_t>{2, 1, 3, 0}));
}

TEST(fuse_keeps_making_outputs) {
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "4"});
  net.graph.add_output(net.add("reshape", {x}, {{"shape", Dims{net.size("batch"), 4}}}), "y");
  const FusedGraph f = fuse(net.graph);
  REQUIRE(f.graph.nodes().size() == 1);
  CHECK_EQ(f.graph.nodes()[0].outputs[0], f.graph.outputs()[0].value);
}

TEST(fuse_quantize_of_dequantize) {
  const auto steps = [](Quantization first, Quantization second) {
    Net net;
    const int x = net.input("x", DType::f32, {"batch", "4"});
    int v = net.add("quantize", {x}, {}, {}, first);
    v = net.add("quantize", {net.add("dequantize", {v})}, {}, {}, second);
    v = net.add("clamp", {v}, {{"low", Dims{3}}}, {}, second);
    net.graph.add_output(net.add("dequantize", {v}), "y");
    return fuse(net.graph).graph.nodes().size();
  };
  CHECK_EQ(steps({0.1f, 3}, {0.1f, 3}), size_t{3});
  CHECK_EQ(steps({0.1f, 3}, {0.1f, 4}), size_t{5});
  CHECK_EQ(steps({0.1f, 3}, {0.2f, 3}), size_t{5});
  CHECK_EQ(steps({3e38f, 3}, {3e38f, 3}), size_t{5});  // 2 * scale is infinite
}

TEST(fuse_pad_into_a_convolution) {
  const auto padded = [](int64_t q, const Dims& rows, int64_t kernel, int64_t channels) {
    Net net;
    const int x = net.quantized("x", {"batch", "4", "height", "width"});
    const Dims ends = {0, 0, 0, channels, rows[0], rows[1], 1, 2};
    const int pad = net.add("pad", {x}, {{"padding", ends}, {"q", Dims{q}}}, {}, net.graph.value(x).quantization);
    const int conv =
        net.add("conv2d", {pad}, {{"stride", Dims{2}}, {"padding", Dims{1}}}, layer({8, 4 + channels, kernel, kernel}));
    net.graph.add_output(conv, "y");
    return net.graph;
  };
  const int64_t zero = padded(-1, {0, 1}, 3, 0).value(1).quantization->zero_point;
  for (const int64_t q : {int64_t{-1}, zero}) {
    const FusedGraph f = fuse(padded(q, {0, 1}, 3, 0));
    REQUIRE(f.graph.nodes().size() == 2);
    CHECK(f.graph.nodes()[1].integers("padding") == (std::vector<int64_t>{1, 2, 2, 3}));
  }
  CHECK_EQ(fuse(padded(zero == 7 ? 8 : 7, {0, 1}, 3, 0)).graph.nodes().size(), size_t{3});  // no zeros
  CHECK_EQ(fuse(padded(-1, {0, 1}, 1, 0)).graph.nodes().size(), size_t{3});
  CHECK_EQ(fuse(padded(-1, {0, 1}, 3, 2)).graph.nodes().size(), size_t{3});  // channels, too

  const Dim height = Dim::size(1);  // as many rows as make it even
  const Graph graph = padded(-1, {0, height - floor_div(height, 2) * 2}, 3, 0);
  const FusedGraph f = fuse(graph);
  REQUIRE(f.graph.nodes().size() == 2);
  const int y = graph.outputs()[0].value;
  for (const Sizes& in : {Sizes{2, 4, 8, 9}, Sizes{1, 4, 7, 6}}) {
    const std::vector<Sizes> inputs = {in};
    CHECK(infer_shapes(f.graph, inputs).shapes[static_cast<size_t>(y)] ==
          infer_shapes(graph, inputs).shapes[static_cast<size_t>(y)]);
  }
}

TEST(fuse_phases_of_a_first_convolution) {
  Net net;
  const int x = net.quantized("x", {"batch", "3", "height", "width"});
  const int conv = net.add("conv2d", {x}, {{"stride", Dims{2}}, {"padding", Dims{3}}}, layer({8, 3, 7, 7}));
  net.graph.add_output(conv, "y");
  const FusedGraph f = fuse(net.graph);
  REQUIRE(f.graph.nodes().size() == 2);
  CHECK(f.graph.nodes()[0].has("phases"));
  CHECK_EQ(f.graph.nodes()[1].integer("stride"), 1);
  CHECK_EQ(f.graph.value(x).dims[1].value(), 12);
  for (const Sizes& in : {Sizes{2, 3, 224, 224}, Sizes{1, 3, 33, 46}}) {
    const std::vector<Sizes> inputs = {in};
    CHECK(infer_shapes(f.graph, inputs).shapes[static_cast<size_t>(conv)] ==
          infer_shapes(net.graph, inputs).shapes[static_cast<size_t>(conv)]);
  }
}

// torch.pixel_shuffle as it is exported: rows and columns of each channel taken apart, put between the pixels, and joined.
int shuffled(Images& net, const Dims& parts, const Dims& axes, const Dims& joined) {
  const int apart = net.add_u8("reshape", {net.x}, {{"shape", parts}});
  const int swapped = net.add_u8("permute", {apart}, {{"axes", axes}});
  return net.add_u8("reshape", {swapped}, {{"shape", joined}});
}

TEST(fuse_pixel_shuffle) {
  Images net;
  const Dim batch = net.size("batch"), height = net.size("height"), width = net.size("width");
  const int y = shuffled(net, {batch, 2, 2, 2, height, width}, {0, 1, 4, 2, 5, 3}, {batch, 2, height * 2, width * 2});
  const FusedGraph f = net.fused(y);
  REQUIRE(f.graph.nodes().size() == 3);
  CHECK(f.graph.nodes()[1].op == Op::pixel_shuffle);
  CHECK(f.graph.nodes()[1].integers("factors") == (std::vector<int64_t>{2, 2}));
  CHECK_EQ(f.fused[1].size(), size_t{2});
  const Inferred inferred = infer_shapes(f.graph, std::vector<Sizes>{{3, 8, 5, 7}});
  CHECK(inferred.shapes[static_cast<size_t>(y)] == (Sizes{3, 2, 10, 14}));
  CHECK(is_batch_local(f.graph, inferred));

  Images signal({"batch", "8", "length"});
  const Dim length = signal.size("length");
  const int z = shuffled(signal, {signal.size("batch"), 2, 4, length}, {0, 1, 3, 2}, {signal.size("batch"), 2, length * 4});
  CHECK(signal.fused(z).graph.nodes()[1].integers("factors") == (std::vector<int64_t>{1, 4}));

  // Columns before rows, and pixels joined in another way, are other moves.
  for (const bool turned : {true, false}) {
    Images other({"batch", "8", "6", "6"});
    const Dims axes = turned ? Dims{0, 1, 4, 3, 5, 2} : Dims{0, 1, 4, 2, 5, 3};
    const int moved = shuffled(other, {other.size("batch"), 2, 2, 2, 6, 6}, axes,
                               turned ? Dims{other.size("batch"), 2, 12, 12} : Dims{other.size("batch"), 2, 24, 6});
    CHECK_EQ(other.fused(moved).graph.nodes().size(), size_t{5});
  }
}

// [images, tokens, heads, width] with the heads in front.
int turned(Net& net, int value) { return net.add("permute", {value}, {{"axes", Dims{0, 2, 1, 3}}}); }

TEST(fuse_heads_of_three_layers) {
  Net net;
  const int q = net.input("q", DType::f32, {"batch", "tokens", "4", "8"}),
            k = net.input("k", DType::f32, {"batch", "keys", "4", "8"}),
            v = net.input("v", DType::f32, {"batch", "keys", "4", "6"});
  int y = net.add("attention", {turned(net, q), turned(net, k), turned(net, v)}, {{"scale", numbers({0.5})}});
  y = turned(net, y);
  net.graph.add_output(y, "y");
  const FusedGraph f = fuse(net.graph);
  REQUIRE(f.graph.nodes().size() == 1);
  const Node& attention = f.graph.nodes()[0];
  CHECK(attention.inputs == (std::vector<int>{q, k, v}));
  CHECK_EQ(attention.outputs[0], y);
  CHECK_EQ(f.fused[0].size(), size_t{4});
  const HeadForms forms = head_forms(attention);
  CHECK(std::all_of(forms.begin(), forms.end(), [](HeadForm form) { return form == HeadForm::tokens_first; }));
  const std::vector<Sizes> sizes = {{2, 5, 4, 8}, {2, 7, 4, 8}, {2, 7, 4, 6}};
  CHECK(infer_shapes(f.graph, sizes).shapes[static_cast<size_t>(y)] == (Sizes{2, 5, 4, 6}));
  CHECK(is_batch_local(f.graph, infer_shapes(f.graph, sizes)));
}

TEST(fuse_heads_that_are_parts_of_one_value) {
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "tokens", "3", "4", "8"});
  const int all = net.add("permute", {x}, {{"axes", Dims{2, 0, 3, 1, 4}}});
  const auto part = [&](int64_t i, int64_t end) {
    const int slice = net.add("slice", {all}, {{"axis", Dims{0}}, {"start", Dims{i}}, {"end", Dims{end}}});
    return net.add("reshape", {slice}, {{"shape", Dims{net.size("batch"), 4, net.size("tokens"), 8}}});
  };
  const int values = part(2, INT64_MAX);
  const int y = net.add("attention", {part(0, 1), part(1, 2), values}, {{"scale", numbers({0.5})}});
  net.graph.add_output(y, "y");
  const FusedGraph f = fuse(net.graph);
  REQUIRE(f.graph.nodes().size() == 1);
  CHECK(f.graph.nodes()[0].inputs == (std::vector<int>{x, x, x}));
  CHECK(head_forms(f.graph.nodes()[0]) ==
        (HeadForms{HeadForm::part_0, HeadForm::part_1, HeadForm::part_2, HeadForm::heads_first}));
  const Inferred inferred = infer_shapes(f.graph, std::vector<Sizes>{{2, 5, 3, 4, 8}});
  CHECK(inferred.shapes[static_cast<size_t>(y)] == (Sizes{2, 4, 5, 8}));
  CHECK(is_batch_local(f.graph, inferred));
  net.graph.add_output(values, "values");  // has a reader outside: they stay for it, and are read where they were
  const FusedGraph read = fuse(net.graph);
  REQUIRE(read.graph.nodes().size() == 4);
  CHECK(read.graph.nodes()[3].inputs == (std::vector<int>{x, x, x}));
}

TEST(fuse_tokens_behind_a_quantize) {
  Net net;
  const int q = net.input("q", DType::f32, {"batch", "4", "tokens", "8"});
  const int heads = net.add("attention", {q, q, q}, {{"scale", numbers({0.5})}});
  const int y = net.add_u8("permute", {net.add_u8("quantize", {heads})}, {{"axes", Dims{0, 2, 1, 3}}});
  net.graph.add_output(net.add("dequantize", {y}), "y");
  const FusedGraph f = fuse(net.graph);
  REQUIRE(f.graph.nodes().size() == 3);
  CHECK(head_forms(f.graph.nodes()[0])[3] == HeadForm::tokens_first);
  CHECK_EQ(f.graph.nodes()[1].outputs[0], y);
  CHECK(infer_shapes(f.graph, std::vector<Sizes>{{2, 4, 5, 8}}).shapes[static_cast<size_t>(heads)] == (Sizes{2, 5, 4, 8}));
}

TEST(fuse_tokens_once) {
  Net net;
  const int q = net.input("q", DType::f32, {"batch", "4", "tokens", "8"});
  const int heads = turned(net, net.add("attention", {q, q, q}, {{"scale", numbers({0.5})}}));
  const int y = net.add_u8("permute", {net.add_u8("quantize", {heads})}, {{"axes", Dims{0, 2, 1, 3}}});
  net.graph.add_output(net.add("dequantize", {y}), "y");
  const FusedGraph f = fuse(net.graph);
  REQUIRE(f.graph.nodes().size() == 4);  // there and back again: the second way is a permutation
  CHECK(infer_shapes(f.graph, std::vector<Sizes>{{2, 4, 5, 8}}).shapes[static_cast<size_t>(y)] == (Sizes{2, 4, 5, 8}));
}

TEST(fuse_heads_not_of_other_axes) {
  for (const Dims& axes : {Dims{0, 1, 3, 2}, Dims{1, 0, 2, 3}, Dims{0, 3, 1, 2}}) {
    Net net;
    const int q = net.input("q", DType::f32, {"4", "4", "4", "4"});
    const int moved = net.add("permute", {q}, {{"axes", axes}});
    net.graph.add_output(net.add("attention", {moved, moved, moved}, {{"scale", numbers({0.5})}}), "y");
    CHECK_EQ(fuse(net.graph).graph.nodes().size(), size_t{2});
  }
}

}  // namespace
}  // namespace niwaki
