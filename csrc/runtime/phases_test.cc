// Here and not in graph/, because it runs what it rewrites.
#include "graph/phases.h"

#include <algorithm>

#include "graph/fuse.h"
#include "graph/test_tools.h"
#include "runtime/session.h"
#include "testing/test.h"

using namespace niwaki;
using niwaki::testing::Random;

namespace {

struct Layer {
  int64_t channels, outputs, kernel_h, kernel_w;
  Dims padding;  // top, left, bottom, right
};

// Image -> quantize -> conv2d with stride 2. With `reader` the quantized image is an output, too, and so must stay as it is.
Graph make_graph(const Layer& layer, bool reader) {
  Random random(static_cast<uint64_t>(layer.channels + layer.kernel_h));
  const int64_t count = layer.outputs * layer.channels * layer.kernel_h * layer.kernel_w;
  std::vector<int8_t> weight;
  for (int64_t i = 0; i < count; ++i) weight.push_back(static_cast<int8_t>(random.integer(-127, 127)));
  const std::vector<float> scale(static_cast<size_t>(layer.outputs), 0.002f);
  std::vector<int32_t> bias;
  for (int64_t o = 0; o < layer.outputs; ++o) bias.push_back(random.integer(-500, 500));
  niwaki::testing::Net net;
  const int image = net.input("image", DType::f32, {"batch", std::to_string(layer.channels), "height", "width"});
  const int q = net.add("quantize", {image}, {}, {}, Quantization{0.02f, 117});
  Tensors tensors;
  tensors["weight"] = Tensor::copy_of(DType::i8, {layer.outputs, layer.channels, layer.kernel_h, layer.kernel_w}, weight.data());
  tensors["weight_scale"] = Tensor::copy_of(DType::f32, {layer.outputs}, scale.data());
  tensors["bias"] = Tensor::copy_of(DType::i32, {layer.outputs}, bias.data());
  const int out = net.add("conv2d", {q}, {{"stride", Dims{2}}, {"padding", layer.padding}}, tensors, Quantization{0.05f, 100});
  net.graph.add_output(net.add("dequantize", {out}), "out");
  if (reader) net.graph.add_output(net.add("dequantize", {q}), "image_back");
  return net.graph;
}

std::vector<float> run(const Graph& graph, Isa isa, int64_t images, int64_t channels, int64_t height, int64_t width) {
  Session session(std::make_shared<const Model>(graph, isa), 2);
  Random random(11);
  std::vector<float> in(static_cast<size_t>(images * channels * height * width));
  for (float& value : in) value = random.real(-3.0f, 3.0f);
  const Sizes sizes{images, channels, height, width};
  std::vector<std::vector<float>> outs;
  std::vector<void*> addresses;
  for (const Sizes& shape : session.output_shapes(std::vector<Sizes>{sizes}))
    outs.emplace_back(static_cast<size_t>(elements_of(shape)));
  for (auto& out : outs) addresses.push_back(out.data());
  session.run(std::vector<Session::Input>{{in.data(), sizes}}, addresses);
  return outs[0];
}

bool splits(const Layer& layer) {
  const FusedGraph fused = fuse(make_graph(layer, false));
  const auto is_split = [](const Node& node) { return node.op == Op::quantize && node.attributes.contains("phases"); };
  return std::any_of(fused.graph.nodes().begin(), fused.graph.nodes().end(), is_split);
}

}  // namespace

TEST(phases_change_no_result) {
  const Layer layers[] = {{3, 20, 7, 7, {3, 3, 3, 3}}, {1, 8, 3, 3, {1, 1, 1, 1}}, {1, 5, 5, 7, {2, 3, 2, 3}},
                          {3, 9, 7, 7, {2, 2, 2, 2}},  {1, 4, 3, 3, {0, 1, 0, 1}}, {3, 6, 7, 7, {0, 0, 0, 0}}};
  for (const Layer& layer : layers) {
    CHECK(splits(layer));
    for (const auto& [height, width] : {std::pair{33, 34}, {97, 31}, {7, 7}, {8, 64}}) {
      for (const Isa isa : supported_isas()) {
        const auto plain = run(make_graph(layer, true), isa, 2, layer.channels, height, width);
        CHECK(run(make_graph(layer, false), isa, 2, layer.channels, height, width) == plain);
      }
    }
  }
}

TEST(phases_only_where_they_save_rows) {
  CHECK(splits({3, 16, 3, 3, {1, 1, 1, 1}}));  // 8 rows instead of 9
  CHECK(!splits({4, 16, 7, 7, {3, 3, 3, 3}}));
  CHECK(!splits({1, 16, 4, 4, {1, 1, 1, 1}}));  // the number of outputs would depend on the image's last row
}

TEST(phases_keep_the_count_of_weights) {
  const Layer layer{3, 20, 7, 7, {3, 3, 3, 3}};
  const FusedGraph fused = fuse(make_graph(layer, false));
  for (const Node& node : fused.graph.nodes())
    if (node.op == Op::conv2d) CHECK_EQ(original_weights(node), int64_t{20 * 3 * 49});
}
