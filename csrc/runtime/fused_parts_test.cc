// Here and not in graph/, because it runs what it rewrites.
#include "graph/fused_parts.h"

#include <algorithm>
#include <memory>

#include "graph/fuse.h"
#include "graph/test_tools.h"
#include "runtime/session.h"
#include "testing/emulation.h"
#include "testing/test.h"

using namespace niwaki;
using niwaki::testing::Random;

namespace {

Tensors layer_of(Random& random, int64_t outputs, int64_t inputs, int zeros) {
  std::vector<int8_t> weight(static_cast<size_t>(outputs * inputs));
  for (size_t i = 0; i < weight.size(); ++i)
    if (i % 4 != 0 || random.integer(0, 99) >= zeros) weight[i] = static_cast<int8_t>(random.integer(-127, 127));
    else std::fill_n(weight.begin() + static_cast<std::ptrdiff_t>(i), std::min<size_t>(4, weight.size() - i), int8_t{0}), i += 3;
  std::vector<int32_t> bias(static_cast<size_t>(outputs));
  for (int32_t& each : bias) each = random.integer(-3000, 3000);
  return {{"weight", Tensor::copy_of(DType::i8, {outputs, inputs, 1, 1}, weight.data())},
          {"weight_scale", niwaki::testing::floats({outputs}, 0.004f)},
          {"bias", Tensor::copy_of(DType::i32, {outputs}, bias.data())}};
}

struct Shape {
  int64_t channels, outputs;
  bool residual, table, prelu;
  int zeros;
};

// An image, a gate for each channel of it, their product and a 1 x 1 convolution. `apart`: every value is read twice, so nothing is fused.
Graph make_graph(const Shape& shape, bool apart) {
  Random random(7);
  niwaki::testing::Net net;
  const int image = net.input("image", DType::f32, {"batch", std::to_string(shape.channels), "height", "width"});
  const auto kept = [&](int value) {
    if (apart) net.graph.add_output(net.add("dequantize", {value}), "kept" + std::to_string(value));
    return value;
  };
  const int x = net.add("quantize", {image}, {}, {}, Quantization{0.02f, 117});
  const int mean = net.add("adaptive_avg_pool2d", {x}, {{"size", Dims{1}}}, {}, Quantization{0.02f, 117});
  const int gate = net.add("conv2d", {mean}, {}, layer_of(random, shape.channels, shape.channels, 0), Quantization{0.01f, 30});
  int v = kept(net.add("mul", {x, gate}, {{"low", Dims{9}}, {"high", Dims{251}}}, {}, Quantization{0.03f, 120}));
  v = net.add("conv2d", {v}, {}, layer_of(random, shape.outputs, shape.channels, shape.zeros), Quantization{0.05f, 100});
  if (!shape.residual) kept(v);  // a sum in a layer adds to what is not rounded
  if (shape.residual) v = kept(net.add("add", {x, v}, {}, {}, Quantization{0.06f, 90}));
  std::vector<uint8_t> table(256);
  for (uint8_t& entry : table) entry = static_cast<uint8_t>(random.integer(0, 255));
  if (shape.table)
    v = net.add("table", {v}, {}, {{"table", Tensor::copy_of(DType::u8, {256}, table.data())}}, Quantization{0.1f, 3});
  if (shape.prelu)
    v = net.add("prelu", {v}, {}, {{"slope", niwaki::testing::floats({shape.outputs}, 0.3f)}}, Quantization{0.1f, 3});
  net.graph.add_output(net.add("dequantize", {v}), "out");
  return net.graph;
}

std::vector<float> run(const Graph& graph, Isa isa, ConvKind kind, int threads, const Sizes& sizes) {
  Session session(std::make_shared<const Model>(graph, isa, kind), threads);
  Random random(11);
  std::vector<float> in(static_cast<size_t>(elements_of(sizes)));
  for (float& value : in) value = random.real(-2.0f, 2.0f);
  std::vector<std::vector<float>> outs;
  std::vector<void*> addresses;
  for (const Sizes& shape : session.output_shapes(std::vector<Sizes>{sizes}))
    outs.emplace_back(static_cast<size_t>(elements_of(shape)));
  for (auto& out : outs) addresses.push_back(out.data());
  session.run(std::vector<Session::Input>{{in.data(), sizes}}, addresses);
  return outs.back();
}

// The first two fit one strip; 4,551 pixels of 40 channels are two, which end within an image, or one for each of three threads.
TEST(fused_parts_change_no_result) {
  const Shape shapes[] = {{40, 24, false, true, false, 0},
                          {40, 40, true, false, false, 0},
                          {40, 40, true, true, false, 80},
                          {9, 5, false, false, true, 0},
                          {64, 8, false, false, true, 90}};
  for (const Shape& shape : shapes)
    for (const Sizes& sizes :
         {Sizes{1, shape.channels, 7, 7}, Sizes{2, shape.channels, 3, 5}, Sizes{3, shape.channels, 41, 37}}) {
      const std::vector<float> wanted = run(make_graph(shape, true), Isa::scalar, ConvKind::dense, 1, sizes);
      for (const Isa isa : testing::swept_isas())
        for (const ConvKind kind : {ConvKind::dense, ConvKind::sparse})
          for (const int threads : {1, 2, 3}) CHECK(run(make_graph(shape, false), isa, kind, threads, sizes) == wanted);
    }
}

TEST(fused_parts_take_nodes_away) {
  const auto nodes = [](const Shape& shape, bool apart) { return fuse(make_graph(shape, apart)).graph.nodes().size(); };
  CHECK_EQ(nodes({40, 40, true, true, false, 0}, false), size_t{5});  // quantize, mean, gate, convolution, dequantize
  CHECK_EQ(nodes({40, 24, false, false, true, 0}, false), size_t{5});
  CHECK_EQ(nodes({40, 24, false, true, false, 0}, true), size_t{9});
}

// Only a 1 x 1 convolution of bytes, whose pixels know nothing of each other.
TEST(fused_parts_refuse_other_products) {
  const auto fused = [](Dims padding, Dims stride, int64_t kernel, bool bytes) {
    niwaki::testing::Images s;
    const int gate = s.add_u8("adaptive_avg_pool2d", {s.x}, {{"size", Dims{1}}});
    const int product = s.add_u8("mul", {s.x, gate});
    const int out =
        s.add("conv2d", {product}, {{"padding", padding}, {"stride", stride}}, niwaki::testing::layer({8, 8, kernel, kernel}),
              bytes ? std::optional(niwaki::testing::kScale) : std::nullopt);
    return bytes ? s.fused(out).graph.nodes().size() == 4 : [&] {
      s.graph.add_output(out, "out");
      return fuse(s.graph).graph.nodes().size() == 3;
    }();
  };
  CHECK(fused({0, 0, 0, 0}, {1, 1}, 1, true));
  // Numbers of other images than the data, as far as anybody knows before the run, which refuses them.
  niwaki::testing::Images s;
  const int others = s.quantized("others", {"more", "8", "1", "1"});
  const int product = s.add_u8("mul", {s.x, others});
  const int out = s.add_u8("conv2d", {product}, {}, niwaki::testing::layer({8, 8, 1, 1}));
  CHECK_EQ(s.fused(out).graph.nodes().size(), size_t{5});
  Session session(std::make_shared<const Model>(s.graph, Isa::scalar), 1);
  CHECK_THROWS((void)session.output_shapes(std::vector<Sizes>{{2, 8, 3, 3}, {1, 8, 1, 1}}), "");
  CHECK(!fused({1, 0, 0, 0}, {1, 1}, 1, true));
  CHECK(!fused({0, 0, 0, 0}, {1, 2}, 1, true));
  CHECK(!fused({0, 0, 0, 0}, {1, 1}, 3, true));
  CHECK(!fused({0, 0, 0, 0}, {1, 1}, 1, false));
}

}  // namespace
