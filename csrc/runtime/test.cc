// Random networks against a second implementation, on every instruction set; memory planning.
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <set>

#include "graph/fuse.h"
#include "runtime/blocks.h"
#include "runtime/gardener_for_test.h"
#include "runtime/interpreter_for_test.h"
#include "runtime/session.h"
#include "runtime/session_for_test.h"
#include "testing/emulation.h"

namespace niwaki {
namespace {

using testing::Gardener;
using testing::Random;
using testing::Values;

std::vector<Values> random_inputs(const Graph& graph, int64_t images, int64_t height, int64_t width, uint64_t seed) {
  Random random(seed);
  std::vector<Values> inputs;
  for (const Port& port : graph.inputs()) {
    Values values{{images, graph.value(port.value).dims[1].value(), height, width}, {}};
    values.data.resize(static_cast<size_t>(elements_of(values.shape)));
    for (double& value : values.data) value = random.real(-20.0f, 20.0f);
    inputs.push_back(std::move(values));
  }
  return inputs;
}

std::vector<Segment> random_segments(const Batch& batch, Random& random) {
  const auto steps = batch.model.steps().size();
  std::vector<Segment> segments;
  size_t begin = 0;
  const auto add = [&](size_t end, int64_t images) {
    segments.push_back({begin, end, images});
    begin = end;
  };
  const auto images = [&] { return random.integer(1, static_cast<int>(batch.images)); };
  for (const Cut& cut : possible_cuts(batch)) {
    const int64_t count = images();
    if (can_be_made_in_parts(batch, cut.value, count)) add(cut.step, count);
  }
  add(steps, images());
  return segments;
}

// A run of a network: what goes in and what has to come out, nothing where the sizes are refused. Worked out once for all sessions.
struct Run {
  std::vector<Values> inputs;
  std::optional<std::vector<Values>> outputs;
};

Run run_of(const Graph& graph, const Graph& fused, const Sizes& size, uint64_t seed) {
  Run run{random_inputs(graph, size[0], size[1], size[2], seed + static_cast<uint64_t>(size[0])), {}};
  std::vector<Sizes> sizes;
  for (const Values& input : run.inputs) sizes.push_back(input.shape);
  try {
    (void)infer_shapes(fused, sizes);
  } catch (const Error& error) {  // two branches may only fit for the size that the network was grown for
    return run;
  }
  testing::Interpreter expected(fused, run.inputs);
  run.outputs.emplace();
  for (size_t i = 0; i < graph.outputs().size(); ++i) run.outputs->push_back(expected.output(i));
  return run;
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
    std::vector<Run> runs;
    for (const Sizes& size :
         {Sizes{1, height, width}, Sizes{5, height, width}, Sizes{0, height, width}, Sizes{2, height + 3, width + 5}})
      runs.push_back(run_of(graph, fused, size, seed));
    for (size_t i = 0; i < 3; ++i) CHECK(runs[i].outputs.has_value());
    const ConvKind kind = std::vector{ConvKind::automatic, ConvKind::dense, ConvKind::sparse}[seed % 3];
    for (Isa isa : testing::swept_isas()) {
      auto model = std::make_shared<const Model>(graph, isa, kind);
      for (int threads : {1, 3}) {
        // With three threads a few images at a time: 5 images make passes of one, or of 3 and 2, or one. And parts of the network
        // with fewer.
        Session session(model, threads, threads == 1 ? Session::kPassBytes : random.integer(1, 60000),
                        [&](const Batch& batch, int) {
                          const std::vector<Segment> segments = random_segments(batch, random);
                          in_parts += segments.size() > 1 && segments[0].images < batch.images;
                          return segments;
                        });
        // Several sizes on one session, back to the first at the end.
        for (const size_t which : {0, 1, 2, 3, 0}) {
          const Run& run = runs[which];
          if (!run.outputs) {
            CHECK_THROWS(testing::run(session, run.inputs), "");
            continue;
          }
          const auto outputs = testing::run(session, run.inputs);
          for (size_t i = 0; i < outputs.size(); ++i) {
            ++compared;
            const Values& expected = (*run.outputs)[i];
            if (outputs[i].shape != expected.shape || outputs[i].data != expected.data)
              testing::fail(__FILE__, __LINE__,
                            "seed " + std::to_string(seed) + ", " + isa_name(isa) + ", " + std::to_string(threads) +
                                " threads, sizes " + std::to_string(which) + ", output " + graph.outputs()[i].name);
          }
        }
      }
    }
  }
  CHECK(compared > 1000);
  CHECK(in_parts > 20);
  for (const Op op : {Op::quantize, Op::dequantize, Op::conv2d, Op::linear, Op::max_pool2d, Op::avg_pool2d,
                      Op::adaptive_avg_pool2d, Op::add, Op::mul, Op::clamp, Op::table, Op::channel_shuffle,
                      Op::upsample_nearest2d, Op::reshape, Op::permute, Op::concat, Op::slice, Op::pad})
    CHECK(used.contains(op));
  for (const Op op : {Op::resize, Op::extreme, Op::prelu, Op::pixel_shuffle}) CHECK(used.contains(op));
}

// A class token before other tokens, and two residual blocks, as in a vision transformer.
testing::Net tokens_net() {
  testing::Net net;
  const int x = net.input("x", DType::f32, {"batch", "5", "8"});
  const int token = net.add("constant", {}, {}, {{"value", testing::floats({1, 1, 8}, 0.5f)}});
  const int repeated = net.add("expand", {token}, {{"shape", Dims{net.size("batch"), 1, 8}}});
  int value = net.add("concat", {repeated, x}, {{"axis", Dims{1}}});
  for (int block = 0; block < 2; ++block) {
    const int normed = net.add("layer_norm", {value}, {{"eps", std::vector<double>{1e-5}}});
    const int codes = net.add_u8("quantize", {normed});
    const int made = net.add("linear", {codes}, {}, testing::layer({8, 8}));
    value = net.add("binary", {value, made}, {{"function", std::string("add")}});
    net.graph.add_output(value, "block " + std::to_string(block));  // the first passes a cut, too
  }
  return net;
}

TEST(runtime_tokens_go_through_in_parts) {
  const testing::Net net = tokens_net();
  Random random(3);
  Values values{{6, 5, 8}, std::vector<double>(240)};
  for (double& value : values.data) value = random.real(-20.0f, 20.0f);
  for (const Isa isa : testing::swept_isas()) {
    const auto model = std::make_shared<const Model>(net.graph, isa);
    CHECK_EQ(Shapes(model->graph(), {{6, 5, 8}}).images(), int64_t{6});  // the class token is one of each image
    std::vector<Segment> chosen;
    const auto run_in = [&](int64_t images) {
      Session session(model, 2, Session::kPassBytes, [&](const Batch& batch, int) {
        chosen.clear();
        size_t begin = 0;
        for (const Cut& cut : possible_cuts(batch)) {
          if (!can_be_made_in_parts(batch, cut.value, images)) continue;
          chosen.push_back({begin, cut.step, images});
          begin = cut.step;
        }
        chosen.push_back({begin, batch.model.steps().size(), images});
        return chosen;
      });
      std::vector<std::vector<double>> made;
      for (const Values& out : testing::run(session, {values})) made.push_back(out.data);
      return made;
    };
    const std::vector<std::vector<double>> whole = run_in(6);
    for (const int64_t images : {1, 4, 5}) CHECK(run_in(images) == whole);
    CHECK_EQ(chosen.size(), size_t{3});  // cut before each block: the stream of tokens passes
  }
}

Plan plan_for(const Model& model, std::vector<Sizes> sizes, int threads) {
  Shapes shapes(model.graph(), std::move(sizes));
  const int64_t images = shapes.images();
  return make_plan(model, std::move(shapes), images, threads);
}

TEST(runtime_memory_is_shared) {
  // A chain of twenty layers needs the memory of two activations, not of twenty; pointwise ones run in place.
  testing::Images net({"1", "8", "20", "20"});
  int v = net.x;
  std::vector<uint8_t> table(256, 3);
  for (int i = 0; i < 20; ++i) v = net.add_u8("max_pool2d", {v}, {{"kernel", Dims{3}}, {"padding", Dims{1}}});
  for (int i = 0; i < 20; ++i) v = net.add_u8("table", {v}, {}, {{"table", Tensor::copy_of(DType::u8, {256}, table.data())}});
  net.graph.add_output(net.add("dequantize", {v}), "y");
  const Model model(net.graph, Isa::scalar);
  CHECK(plan_for(model, {{1, 8, 20, 20}}, 1).arena_bytes <= 2 * planes_bytes(400, 8));
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
  testing::Images net;
  const auto pool = [&](int from) { return net.add_u8("max_pool2d", {from}, {{"kernel", Dims{2}}}); };
  const int joined = net.add_u8("concat", {pool(net.x), pool(net.x)}, {{"axis", Dims{1}}});
  const int half = net.add_u8("slice", {joined}, {{"axis", Dims{1}}, {"start", Dims{8}}, {"end", Dims{16}}});
  net.graph.add_output(net.add("dequantize", {half}), "y");
  const Model model(net.graph, Isa::scalar);
  const Plan plan = plan_for(model, {{1, 8, 6, 6}}, 2);
  CHECK(plan.skipped == (std::vector<bool>{false, false, false, true, true, false}));
  const int64_t stride = group_stride_of(25);
  CHECK_EQ(plan.places[static_cast<size_t>(half)].offset, plan.places[static_cast<size_t>(joined)].offset + 2 * stride);
}

TEST(runtime_tokens_are_views_of_images) {
  testing::Images net({"1", "8", "6", "6"});
  const int rows = net.add_u8("reshape", {net.x}, {{"shape", Dims{1, 8, 36}}});
  const int tokens = net.add_u8("permute", {rows}, {{"axes", Dims{0, 2, 1}}});
  const int out = net.add_u8("linear", {tokens}, {}, testing::layer({16, 8}));
  const int back = net.add_u8("permute", {out}, {{"axes", Dims{0, 2, 1}}});
  const int image = net.add_u8("reshape", {back}, {{"shape", Dims{1, 16, 6, 6}}});
  net.graph.add_output(net.add("conv2d", {image}, {}, testing::layer({4, 16, 1, 1})), "y");
  const Model model(net.graph, Isa::scalar);
  const Plan plan = plan_for(model, {{1, 8, 6, 6}}, 1);
  CHECK(plan.skipped == (std::vector<bool>{false, true, true, false, true, true, false}));
}

}  // namespace
}  // namespace niwaki
