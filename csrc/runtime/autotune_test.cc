// Kernels chosen by timing: same results, and nothing but the choice differs.
#include "runtime/autotune.h"

#include "graph/test_tools.h"
#include "runtime/session.h"
#include "testing/test.h"

namespace niwaki {
namespace {

// Two layers that can be dense or sparse, of which the second has few weights, and a grouped one that can only be dense.
Graph small_network() {
  testing::Random random(5);
  testing::Net net;
  int v = net.add("quantize", {net.input("x", DType::f32, {"batch", "8", "height", "width"})}, {}, {}, Quantization{0.1f, 128});
  for (const auto& [name, groups, kept] :
       {std::tuple{"full", 1, 100}, {"pruned", 1, 10}, {"grouped", 2, 100}, {"twos", 4, 100}}) {
    const int64_t inputs = 8 / groups;
    std::vector<int8_t> weight(static_cast<size_t>(8 * inputs * 9));
    for (auto& w : weight) w = static_cast<int8_t>(random.integer(1, 100) <= kept ? random.integer(-127, 127) : 0);
    const std::vector<float> scale(8, 0.01f);
    const std::vector<int32_t> bias(8, 50);
    Tensors tensors;
    tensors["weight"] = Tensor::copy_of(DType::i8, {8, inputs, 3, 3}, weight.data());
    tensors["weight_scale"] = Tensor::copy_of(DType::f32, {8}, scale.data());
    tensors["bias"] = Tensor::copy_of(DType::i32, {8}, bias.data());
    v = net.graph.add_node("conv2d", name, {v}, {{"padding", Dims{1, 1, 1, 1}}, {"groups", Dims{groups}}}, tensors,
                           {Quantization{0.2f, 100}});
  }
  net.graph.add_output(net.add("dequantize", {v}), "y");
  return net.graph;
}

std::vector<float> run(std::shared_ptr<const Model> model, const std::vector<float>& x, int64_t size) {
  Session session(std::move(model), 2);
  std::vector<float> y(x.size());
  void* const target = y.data();
  const Session::Input input{x.data(), {1, 8, size, size}};
  session.run({&input, 1}, {&target, 1});
  return y;
}

}  // namespace

TEST(autotune_changes_no_result) {
  const Graph graph = small_network();
  testing::Random random(6);
  std::vector<float> x(8 * 13 * 13);
  for (float& value : x) value = random.real(-10.0f, 10.0f);
  const std::vector<Sizes> sizes = {{3, 8, 20, 20}};  // tuned for one size, run at another
  for (Isa isa : supported_isas()) {
    const std::shared_ptr<const Model> tuned = autotune(graph, isa, sizes, 2, 0.0);
    const auto plain = std::make_shared<const Model>(graph, isa);
    CHECK(run(tuned, x, 13) == run(plain, x, 13));
    for (size_t k = 0; k < tuned->steps().size(); ++k) {
      const StepInfo &a = tuned->steps()[k]->info, &b = plain->steps()[k]->info;
      CHECK_EQ(a.name, b.name);
      CHECK_EQ(a.zeros, b.zeros);
      CHECK(a.fused == b.fused);
      const bool choice = a.name == "full" || a.name == "pruned" || a.name == "grouped";  // groups of two channels are dense
      CHECK_EQ(a.reason.rfind("measured: dense ", 0) == 0, choice);
      if (!choice) CHECK_EQ(a.reason, b.reason);
    }
  }
}

TEST(autotune_refuses_what_cannot_be_timed) {
  const Graph graph = small_network();
  const std::vector<Sizes> empty = {{0, 8, 20, 20}}, wrong = {{1, 9, 20, 20}};
  CHECK_THROWS(autotune(graph, Isa::scalar, empty, 1, 0.0), "An empty batch");
  CHECK_THROWS(autotune(graph, Isa::scalar, wrong, 1, 0.0), "must have the shape");
  CHECK_THROWS(autotune(graph, Isa::scalar, {}, 1, 0.0), "takes 1 inputs, not 0");
}

}  // namespace niwaki
