// Random networks against a second implementation, on every instruction set; memory planning.
#include <limits>
#include <memory>
#include <set>

#include "base/status.h"
#include "graph/fuse.h"
#include "graph/operators.h"
#include "runtime/interpreter_for_test.h"
#include "runtime/session.h"
#include "testing/emulation.h"
#include "testing/test.h"

namespace niwaki {
namespace {

using testing::Array;
using testing::Random;

// Grows a random network of operators that fit each other for images of `height` x `width`.
class Gardener {
 public:
  Gardener(uint64_t seed, int64_t height, int64_t width) : random_(seed) {
    const int64_t channels = pick({1, 3, 4, 8});
    input_ = {4, 2, channels, height, width};
    add_input("x");
    if (random_.integer(0, 3) == 0) add_input("second");
    const int steps = random_.integer(4, 12);
    for (int i = 0; i < steps; ++i) grow();
    finish();
  }
  Graph graph;
  std::set<Op> used;

 private:
  struct Leaf {
    int value;
    Shape shape;
    bool read = false;
  };

  int64_t pick(std::initializer_list<int64_t> choices) {
    return choices.begin()[random_.integer(0, static_cast<int>(choices.size()) - 1)];
  }
  Quantization scale() { return {random_.real(0.02f, 0.3f), static_cast<int32_t>(pick({0, 1, 77, 128, 255}))}; }
  Quantization scale_of(const Leaf& leaf) const { return *graph.value(leaf.value).quantization; }
  void bounds(Attributes& attributes) {
    if (random_.integer(0, 1) != 0) return;
    attributes["low"] = {pick({0, 40, 128})};
    attributes["high"] = {pick({255, 200, 130})};
  }

  void add_input(const char* name) {
    const int value = graph.add_input(name, input_.channels, 4);
    leaves_.push_back({graph.add_node(Op::quantize, std::string("q ") + name, {value}, {}, {}, scale()), input_});
  }

  // Late values more often than early ones, so that networks become deep, with early ones kept for long.
  size_t choose() {
    const int last = static_cast<int>(leaves_.size()) - 1;
    return static_cast<size_t>(random_.integer(0, 2) == 0 ? random_.integer(0, last)
                                                          : random_.integer(std::max(0, last - 1), last));
  }

  // Adds the node if it fits; a network that does not is simply tried again elsewhere.
  bool add(Op op, std::vector<size_t> from, Attributes attributes, Tensors tensors, std::optional<Quantization> quantization) {
    std::vector<int> inputs;
    std::vector<Shape> shapes;
    for (size_t leaf : from) inputs.push_back(leaves_[leaf].value), shapes.push_back(leaves_[leaf].shape);
    const Graph before = graph;
    try {
      const int value = graph.add_node(op, std::string(op_name(op)) + " " + std::to_string(graph.nodes().size()), inputs,
                                       std::move(attributes), std::move(tensors), quantization);
      const Shape shape = infer_shape(graph.nodes().back(), shapes);
      if (shape.elements() > 12000) throw Error(Status::unsupported, "too large for a test");
      for (size_t leaf : from) leaves_[leaf].read = true;
      if (quantization) {
        leaves_.push_back({value, shape});
      } else {
        graph.add_output(value, "y" + std::to_string(value));
      }
      used.insert(op);
      return true;
    } catch (const Error&) {
      graph = before;
      return false;
    }
  }

  Tensors layer(std::vector<int64_t> shape, const Quantization& in) {
    int64_t reduction = 1;
    for (size_t i = 1; i < shape.size(); ++i) reduction *= shape[i];
    const int kept = static_cast<int>(pick({0, 20, 60, 100}));
    std::vector<int8_t> weight(static_cast<size_t>(shape[0] * reduction));
    for (int8_t& w : weight) w = random_.integer(0, 99) < kept ? static_cast<int8_t>(random_.integer(-127, 127)) : int8_t{0};
    std::vector<float> scale(static_cast<size_t>(shape[0]));
    std::vector<int32_t> bias(scale.size());
    for (float& s : scale) s = random_.real(0.2f, 1.0f) / (in.scale * 70.0f * static_cast<float>(reduction + 1));
    for (int32_t& b : bias) b = random_.integer(-3000, 3000);
    return {{"weight", Tensor::copy_of(DType::i8, shape, weight.data())},
            {"weight_scale", Tensor::copy_of(DType::f32, {shape[0]}, scale.data())},
            {"bias", Tensor::copy_of(DType::i32, {shape[0]}, bias.data())}};
  }

  void convolution(size_t from, bool depthwise, int64_t outputs, bool keep_size, bool float_output) {
    const Shape in = leaves_[from].shape;
    const int64_t kernel = keep_size ? pick({1, 3}) : pick({1, 2, 3, 5}), groups = depthwise ? in.channels
                                                                                   : in.channels % 2 == 0 && outputs % 2 == 0
                                                                                       ? pick({1, 1, 2})
                                                                                       : 1;
    Attributes attributes = {{"groups", {groups}}, {"padding", {kernel / 2}}};
    if (!keep_size) {
      attributes["stride"] = {pick({1, 1, 2}), pick({1, 2})};
      attributes["padding"] = {pick({0, 1, 2}), pick({0, 1}), pick({0, 1}), pick({0, 3})};
      attributes["dilation"] = {pick({1, 1, 2}), 1};
      bounds(attributes);
    }
    add(Op::conv2d, {from}, attributes, layer({outputs, in.channels / groups, kernel, kernel}, scale_of(leaves_[from])),
        float_output ? std::nullopt : std::optional(scale()));
  }

  void grow() {
    const size_t from = choose();
    const Leaf leaf = leaves_[from];
    const Quantization same = scale_of(leaf);
    if (leaf.shape.rank == 2 && random_.integer(0, 2) == 0) {
      Attributes attributes;
      bounds(attributes);
      add(Op::linear, {from}, attributes, layer({pick({1, 5, 16, 33}), leaf.shape.channels}, same), scale());
      return;
    }
    switch (random_.integer(0, 15)) {
      case 0:
        if (random_.integer(0, 2) == 0) return convolution(from, false, leaf.shape.channels, true, false);
        return convolution(from, false, pick({1, 4, 6, 16, 24}), false, false);
      case 1: return convolution(from, true, leaf.shape.channels, false, false);
      case 2: {  // a residual block
        convolution(from, random_.integer(0, 3) == 0, leaf.shape.channels, true, false);
        const size_t last = leaves_.size() - 1;
        if (leaves_[last].shape == leaf.shape && last != from) add(Op::add, {last, from}, {{"low", {pick({0, 9})}}}, {}, scale());
        return;
      }
      case 3:
        add(Op::max_pool2d, {from},
            {{"kernel", {pick({2, 3}), pick({1, 3})}},
             {"stride", {pick({1, 2})}},
             {"padding", {pick({0, 1})}},
             {"dilation", {pick({1, 2})}},
             {"ceil_mode", {pick({0, 1})}}},
            {}, same);
        return;
      case 4: {
        Attributes attributes = {{"kernel", {pick({1, 2}), pick({2, 3})}}, {"stride", {pick({1, 2, 3})}},
                                 {"padding", {pick({0, 1}), 1, 0, 1}},     {"ceil_mode", {pick({0, 1})}},
                                 {"count_include_pad", {pick({0, 1})}},    {"divisor", {pick({0, 0, 3})}}};
        bounds(attributes);
        add(Op::avg_pool2d, {from}, attributes, {}, scale());
        return;
      }
      case 5: add(Op::adaptive_avg_pool2d, {from}, {{"size", {pick({1, 2, 5}), pick({1, 3})}}}, {}, scale()); return;
      case 6: {
        const size_t other = choose();
        Attributes attributes;
        bounds(attributes);
        add(random_.integer(0, 1) == 0 ? Op::add : Op::mul, {from, other}, attributes, {}, scale());
        return;
      }
      case 7:  // squeeze and excite
        if (add(Op::adaptive_avg_pool2d, {from}, {{"size", {1}}}, {}, scale()))
          add(Op::mul, {from, leaves_.size() - 1}, {}, {}, scale());
        return;
      case 8: add(Op::clamp, {from}, {{"low", {pick({0, 30})}}, {"high", {pick({255, 180})}}}, {}, same); return;
      case 9: {
        std::vector<uint8_t> table(256);
        for (uint8_t& entry : table) entry = static_cast<uint8_t>(random_.integer(0, 255));
        add(Op::table, {from}, {}, {{"table", Tensor::copy_of(DType::u8, {256}, table.data())}}, scale());
        return;
      }
      case 10: return concatenate(from);
      case 11: {
        const int64_t axis = pick({1, 1, 2, 3});
        add(Op::slice, {from},
            {{"axis", {axis}},
             {"start", {pick({0, 1, 4, -3, -1})}},
             {"end", {pick({2, 8, -1, 1000})}},
             {"step", {pick({1, 1, 2})}}},
            {}, same);
        return;
      }
      case 12:
        add(Op::pad, {from},
            {{"padding", {pick({0, 0, 1, 4}), pick({0, 3}), pick({0, 1}), pick({0, 2}), pick({0, 1}), 0}},
             {"value", {pick({-1, 7})}}},
            {}, same);
        return;
      case 13: {
        const auto shape = random_.integer(0, 1) == 0 ? std::vector<int64_t>{-1}
                                                      : std::vector<int64_t>{leaf.shape.channels, leaf.shape.width, -1};
        add(Op::reshape, {from}, {{"shape", shape}}, {}, same);
        return;
      }
      case 14: add(Op::upsample_nearest2d, {from}, {{"scale", {pick({1, 2, 3}), pick({1, 2})}}}, {}, same); return;
      default: add(Op::channel_shuffle, {from}, {{"groups", {pick({1, 2, 4})}}}, {}, same); return;
    }
  }

  // Parts of one scale, made for it: written in place where they begin with a group, copied where not.
  void concatenate(size_t from) {
    const Quantization same = scale_of(leaves_[from]);
    std::vector<size_t> parts = {from};
    const int count = random_.integer(1, 3);
    for (int i = 0; i < count; ++i) {
      if (random_.integer(0, 3) == 0) {
        parts.push_back(parts.front());
        continue;
      }
      const int64_t outputs = pick({4, 4, 8, 3});
      if (leaves_[from].shape.rank == 4 &&
          add(Op::conv2d, {from}, {}, layer({outputs, leaves_[from].shape.channels, 1, 1}, same), same))
        parts.push_back(leaves_.size() - 1);
    }
    if (random_.integer(0, 1) == 0) std::reverse(parts.begin(), parts.end());
    add(Op::concat, parts, {}, {}, same);
  }

  void finish() {
    const size_t count = leaves_.size();
    for (size_t i = 0; i < count; ++i) {
      if (leaves_[i].read) continue;
      if (leaves_[i].shape.rank == 4 && random_.integer(0, 3) == 0)
        convolution(i, random_.integer(0, 2) == 0, leaves_[i].shape.channels, true, true);
      if (leaves_[i].shape.rank == 2 && random_.integer(0, 1) == 0)
        add(Op::linear, {i}, {}, layer({7, leaves_[i].shape.channels}, scale_of(leaves_[i])), std::nullopt);
      if (!leaves_[i].read) add(Op::dequantize, {i}, {}, {}, std::nullopt);
    }
  }

  Random random_;
  Shape input_;
  std::vector<Leaf> leaves_;
};

std::vector<Array> random_inputs(const Graph& graph, int64_t images, int64_t height, int64_t width, uint64_t seed) {
  Random random(seed);
  std::vector<Array> inputs;
  for (const Port& port : graph.inputs()) {
    Array array;
    array.shape = {4, images, graph.value(port.value).channels, height, width};
    array.real.resize(static_cast<size_t>(array.shape.elements()));
    for (float& value : array.real) value = random.real(-20.0f, 20.0f);
    inputs.push_back(std::move(array));
  }
  return inputs;
}

std::vector<std::vector<float>> run(Session& session, const std::vector<Array>& inputs) {
  std::vector<Session::Input> sources;
  std::vector<std::vector<int64_t>> sizes;
  for (const Array& input : inputs) {
    sizes.push_back(input.shape.sizes());
    sources.push_back({input.real.data(), sizes.back()});
  }
  std::vector<std::vector<float>> outputs;
  std::vector<float*> targets;
  for (const auto& size : session.output_sizes(sizes)) {
    int64_t elements = 1;
    for (int64_t s : size) elements *= s;
    outputs.emplace_back(static_cast<size_t>(elements), std::numeric_limits<float>::quiet_NaN());  // what is not written shows
  }
  for (auto& output : outputs) targets.push_back(output.data());
  session.run(sources, targets);
  return outputs;
}

std::vector<Segment> random_segments(const Model& model, const std::vector<Shape>& shapes, Random& random) {
  const auto steps = model.graph().nodes().size();
  const int64_t all = shapes[0].images;
  std::vector<Segment> segments;
  size_t begin = 0;
  const auto add = [&](size_t end, int64_t images) {
    segments.push_back({begin, end, images});
    begin = end;
  };
  for (const Cut& cut : possible_cuts(model, shapes)) {
    const int64_t images = random.integer(1, std::max<int64_t>(all, 1));
    if (can_be_made_in_parts(shapes[static_cast<size_t>(cut.value)], images)) add(cut.step, images);
  }
  add(steps, random.integer(1, std::max<int64_t>(all, 1)));
  return segments;
}

TEST(runtime_random_networks) {
  std::set<Op> used;
  int compared = 0, in_parts = 0;
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    Random random(seed * 31);
    const int64_t height = random.integer(1, 12), width = random.integer(1, 12);
    Gardener gardener(seed, height, width);
    const Graph& graph = gardener.graph;
    used.insert(gardener.used.begin(), gardener.used.end());
    const Graph fused = fuse(graph).graph;
    const ConvKind kind = std::vector{ConvKind::automatic, ConvKind::dense, ConvKind::sparse}[seed % 3];
    for (Isa isa : testing::swept_isas()) {
      auto model = std::make_shared<const Model>(graph, isa, kind);
      for (int threads : {1, 3}) {
        // With three threads a few images at a time: 5 images make passes of one, or of 3 and 2, or one. And parts of the network
        // with fewer.
        Session session(model, threads, threads == 1 ? Session::kPassBytes : random.integer(1, 60000),
                        [&](const Model& of, const std::vector<Shape>& shapes, const std::vector<int64_t>&, int) {
                          const std::vector<Segment> segments = random_segments(of, shapes, random);
                          in_parts += segments.size() > 1 && segments[0].images < shapes[0].images;
                          return segments;
                        });
        struct Size {
          int64_t images, height, width;
        };
        // Several sizes on one session, back to the first at the end.
        for (const Size& size : {Size{1, height, width}, Size{5, height, width}, Size{0, height, width},
                                 Size{2, height + 3, width + 5}, Size{1, height, width}}) {
          const auto inputs =
              random_inputs(graph, size.images, size.height, size.width, seed + static_cast<uint64_t>(size.images));
          std::vector<std::vector<int64_t>> sizes;
          for (const Array& input : inputs) sizes.push_back(input.shape.sizes());
          try {
            (void)infer_shapes(fused, sizes);
          } catch (const Error& error) {  // two branches may only fit for the size that the network was grown for
            CHECK(size.height != height);
            CHECK_THROWS(run(session, inputs), "");
            continue;
          }
          testing::Interpreter expected(fused, inputs);
          const auto outputs = run(session, inputs);
          for (size_t i = 0; i < outputs.size(); ++i) {
            ++compared;
            if (outputs[i] != expected.output(i))
              testing::fail(__FILE__, __LINE__,
                            "seed " + std::to_string(seed) + ", " + isa_name(isa) + ", " + std::to_string(threads) +
                                " threads, batch " + std::to_string(size.images) + ", output " + graph.outputs()[i].name);
          }
        }
      }
    }
  }
  CHECK(compared > 1000);
  CHECK(in_parts > 20);
  CHECK_EQ(used.size(), size_t{17} - 1);  // every operator but quantize, which every network begins with
}

TEST(runtime_memory_is_shared) {
  // A chain of twenty layers needs the memory of two activations, not of twenty; pointwise ones run in place.
  Graph graph;
  const Quantization q{0.1f, 128};
  int v = graph.add_node(Op::quantize, "in", {graph.add_input("x", 8, 4)}, {}, {}, q);
  std::vector<uint8_t> table(256, 3);
  for (int i = 0; i < 20; ++i) v = graph.add_node(Op::max_pool2d, "pool", {v}, {{"kernel", {3}}, {"padding", {1}}}, {}, q);
  for (int i = 0; i < 20; ++i)
    v = graph.add_node(Op::table, "table", {v}, {}, {{"table", Tensor::copy_of(DType::u8, {256}, table.data())}}, q);
  graph.add_output(graph.add_node(Op::dequantize, "out", {v}, {}, {}, std::nullopt), "y");
  const Model model(graph, Isa::scalar);
  const std::vector<std::vector<int64_t>> sizes = {{1, 8, 20, 20}};
  const Plan plan = make_plan(model, sizes, 1);
  CHECK(plan.arena_bytes <= 2 * planes_bytes(400, 8));
}

TEST(runtime_blocks_do_not_overlap) {
  Random random(7);
  for (int round = 0; round < 200; ++round) {
    std::vector<Block> blocks(static_cast<size_t>(random.integer(1, 30)));
    int64_t sum = 0;
    for (Block& block : blocks) {
      block.bytes = 64 * random.integer(1, 50);
      block.first = random.integer(0, 20);
      block.last = block.first + random.integer(0, 6);
      sum += block.bytes;
    }
    const int64_t total = place_blocks(blocks);
    CHECK(total <= sum);
    for (size_t a = 0; a < blocks.size(); ++a) {
      CHECK(blocks[a].offset >= 0 && blocks[a].offset % 64 == 0 && blocks[a].offset + blocks[a].bytes <= total);
      for (size_t b = 0; b < a; ++b) {
        const bool together = blocks[a].first <= blocks[b].last && blocks[b].first <= blocks[a].last;
        const bool overlap =
            blocks[a].offset < blocks[b].offset + blocks[b].bytes && blocks[b].offset < blocks[a].offset + blocks[a].bytes;
        CHECK(!(together && overlap));
      }
    }
  }
}

TEST(runtime_concat_in_place_and_views_cost_nothing) {
  Graph graph;
  const Quantization q{0.1f, 128};
  const int x = graph.add_node(Op::quantize, "in", {graph.add_input("x", 8, 4)}, {}, {}, q);
  const auto pool = [&](int from) { return graph.add_node(Op::max_pool2d, "pool", {from}, {{"kernel", {1}}}, {}, q); };
  const int joined = graph.add_node(Op::concat, "join", {pool(x), pool(x)}, {}, {}, q);
  const int half = graph.add_node(Op::slice, "half", {joined}, {{"axis", {1}}, {"start", {8}}}, {}, q);
  graph.add_output(graph.add_node(Op::dequantize, "out", {half}, {}, {}, std::nullopt), "y");
  const Model model(graph, Isa::scalar);
  const std::vector<std::vector<int64_t>> sizes = {{2, 8, 5, 5}};
  const Plan plan = make_plan(model, sizes, 2);
  CHECK(plan.skipped == (std::vector<bool>{false, false, false, true, true, false}));
  const int64_t stride = group_stride_of(50);
  CHECK_EQ(plan.offsets[static_cast<size_t>(half)], plan.offsets[static_cast<size_t>(joined)] + 2 * stride);
}

TEST(runtime_refuses) {
  Graph graph;
  CHECK_THROWS(Model(graph, Isa::scalar), "has no output");
  const int x = graph.add_node(Op::quantize, "in", {graph.add_input("x", 3, 4)}, {}, {}, Quantization{0.1f, 1});
  const int y = graph.add_node(Op::dequantize, "out", {x}, {}, {}, std::nullopt);
  graph.add_output(y, "y");
  graph.add_output(y, "again");
  auto model = std::make_shared<const Model>(graph, Isa::scalar);
  CHECK_THROWS(Session(model, 0), "threads must be at least 1");
  Session session(model, 1);
  std::vector<float> in(12, 0.5f), a(12), b(12);
  const std::vector<float*> targets = {a.data(), b.data()};
  const auto attempt = [&](std::vector<Session::Input> inputs, std::span<float* const> outputs) { session.run(inputs, outputs); };
  CHECK_THROWS(attempt({{in.data(), {1, 4, 2, 2}}}, targets), "Input 'x' must have the shape [N, 3, H, W], not [1, 4, 2, 2]");
  CHECK_THROWS(attempt({}, targets), "takes 1 inputs, not 0");
  CHECK_THROWS(attempt({{nullptr, {1, 3, 2, 2}}}, targets), "Input 'x' has no data");
  CHECK_THROWS(attempt({{in.data(), {1, 3, 2, 2}}}, std::span(targets).first(1)), "has 2 outputs, not 1");
  CHECK_THROWS(attempt({{in.data(), {1, 3, 1 << 14, 1 << 14}}, {in.data(), {1}}}, targets), "takes 1 inputs, not 2");
  attempt({{in.data(), {1, 3, 2, 2}}}, targets);  // what was refused left the session as good as before
  CHECK(a == std::vector<float>(12, 0.5f) && b == a);
  attempt({{nullptr, {0, 3, 2, 2}}}, targets);
}

}  // namespace
}  // namespace niwaki
