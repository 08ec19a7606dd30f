// What a session promises: any sizes in turn, states, outputs of every kind, good again after an error.
#include "runtime/session.h"

#include <memory>
#include <thread>

#include "runtime/session_for_test.h"
#include "testing/emulation.h"

namespace niwaki {
namespace {

using testing::Net;
using testing::Values;

Values ramp(Sizes shape, double first = 0.0, double step = 1.0) {
  Values values{std::move(shape), {}};
  for (int64_t i = 0; i < elements_of(values.shape); ++i) values.data.push_back(first + step * static_cast<double>(i));
  return values;
}

std::shared_ptr<const Model> model_of(const Graph& graph) { return std::make_shared<const Model>(graph, current_isa()); }

// What a table of 0.5 and zero point 0 makes of whole numbers: themselves.
constexpr Quantization kHalf{0.5f, 0};

TEST(session_refuses) {
  CHECK_THROWS(Model(Graph(), Isa::scalar), "has no output");
  Net net;
  const int x = net.quantized("x", {"batch", "3", "height", "width"});
  const int y = net.add("dequantize", {x});
  net.graph.add_output(y, "y");
  net.graph.add_output(y, "again");
  const auto model = model_of(net.graph);
  CHECK_THROWS(Session(model, 0), "threads must be at least 1");
  Session session(model, 1);
  std::vector<float> in(12, 0.5f), a(12), b(12);
  const std::vector<void*> targets = {a.data(), b.data()};
  const auto attempt = [&](std::vector<Session::Input> inputs, std::span<void* const> outputs) { session.run(inputs, outputs); };
  CHECK_THROWS(attempt({{in.data(), {1, 4, 2, 2}}}, targets),
               "Input 'x' must have the shape [batch, 3, height, width], not [1, 4, 2, 2]");
  CHECK_THROWS(attempt({}, targets), "takes 1 inputs, not 0");
  CHECK_THROWS(attempt({{nullptr, {1, 3, 2, 2}}}, targets), "Input 'x' has no data");
  CHECK_THROWS(attempt({{in.data(), {1, 3, 2, 2}}}, std::span(targets).first(1)), "has 2 outputs, not 1");
  CHECK_THROWS(attempt({{in.data(), {1, 3, 1 << 14, 1 << 14}}, {in.data(), {1}}}, targets), "takes 1 inputs, not 2");
  const std::vector<void*> same = {a.data(), a.data() + 4}, input = {a.data(), in.data()};
  CHECK_THROWS(attempt({{in.data(), {1, 3, 2, 2}}}, same), "The memory of output 'again' overlaps that of output 'y'");
  CHECK_THROWS(attempt({{in.data(), {1, 3, 2, 2}}}, input), "The memory of output 'again' overlaps that of input 'x'");
  attempt({{in.data(), {1, 3, 2, 2}}}, targets);  // what was refused left the session as good as before
  CHECK(a == std::vector<float>(12, 0.5f) && b == a);
  attempt({{nullptr, {0, 3, 2, 2}}}, targets);
}

TEST(session_inputs_of_unlike_batches) {
  Net net;
  for (const char* name : {"a", "b"}) {
    const int q = net.add("quantize", {net.input(name, DType::f32, {std::string("batch ") + name, "3"})}, {}, {}, kHalf);
    net.graph.add_output(net.add("linear", {q}, {}, testing::layer({2, 3}, 1, 0, 1.0f)), std::string(name) + " sums");
  }
  Session session(model_of(net.graph), 2);
  for (const auto& [first, second] : {std::pair{1, 9}, {9, 1}, {0, 7}, {64, 3}, {3, 0}}) {
    const auto out = testing::run(session, {ramp({first, 3}, 0.0, 0.5), ramp({second, 3}, 0.0, 0.5)});
    for (const Values& values : out)
      for (int64_t i = 0; i < values.dim(0); ++i)
        for (int64_t o = 0; o < 2; ++o) {
          double sum = 0.0;
          for (int64_t c = 0; c < 3; ++c) sum += std::min(127.5, 0.5 * static_cast<double>(i * 3 + c));
          CHECK_EQ(values.data[static_cast<size_t>(i * 2 + o)], sum);
        }
  }
}

TEST(session_many_sizes_in_turn) {
  Net net;
  const int q = net.add("quantize", {net.input("x", DType::f32, {"batch", "4", "height", "width"})}, {}, {}, kHalf);
  const int pool = net.add("max_pool2d", {q}, {{"kernel", Dims{2}}, {"stride", Dims{2}}}, {}, kHalf);
  net.graph.add_output(net.add("dequantize", {pool}), "y");
  Session session(model_of(net.graph), 1);
  for (int round = 0; round < 2; ++round)
    for (int64_t size = 2; size < 30; ++size) {
      const auto out = testing::run(session, {ramp({size % 3 + 1, 4, size, size + 1}, 0.0, 0.0)});
      CHECK(out[0].shape == (Sizes{size % 3 + 1, 4, size / 2, (size + 1) / 2}));
      for (const double value : out[0].data) CHECK_EQ(value, 0.0);
    }
}

// A running sum of rows, which leaves as well; and two states that change places.
TEST(session_states_advance) {
  Net net;
  const int x = net.input("x", DType::f32, {"rows", "2"});
  const std::vector<float> zeros(2, 0.0f), one = {1.0f}, two = {2.0f};
  const int last = net.graph.add_state("last", Tensor::copy_of(DType::f32, {1, 2}, zeros.data()));
  const int a = net.graph.add_state("a", Tensor::copy_of(DType::f32, {1}, one.data()));
  const int b = net.graph.add_state("b", Tensor::copy_of(DType::f32, {1}, two.data()));
  const int row = net.add("slice", {x}, {{"axis", Dims{0}}, {"start", Dims{-1}}, {"end", Dims{INT64_MAX}}});
  net.graph.set_state(last, row);
  net.graph.set_state(a, b);
  net.graph.set_state(b, a);
  net.graph.add_output(net.add("concat", {last, x}, {{"axis", Dims{0}}}), "joined");
  net.graph.add_output(a, "a");
  Session session(model_of(net.graph), 1);
  auto out = testing::run(session, {ramp({2, 2}, 1.0)});
  CHECK(out[0].data == (std::vector<double>{0, 0, 1, 2, 3, 4}) && out[1].data == std::vector<double>{1});
  out = testing::run(session, {ramp({1, 2}, 5.0)});
  CHECK(out[0].data == (std::vector<double>{3, 4, 5, 6}) && out[1].data == std::vector<double>{2});
  CHECK_THROWS(testing::run(session, {ramp({1, 3})}), "must have the shape");  // leaves the states
  CHECK_EQ(session.state("last").as<float>()[1], 6.0f);
  session.set_state("last", testing::floats({1, 2}, 9.0f));
  CHECK_THROWS(session.set_state("last", testing::floats({2}, 9.0f)), "State 'last' is float32 [1, 2], not float32 [2]");
  CHECK_THROWS(session.state("first"), "has no state 'first'");
  out = testing::run(session, {ramp({1, 2}, 7.0)});
  CHECK(out[0].data == (std::vector<double>{9, 9, 7, 8}) && out[1].data == std::vector<double>{1});
  session.reset_state();
  out = testing::run(session, {ramp({1, 2}, 7.0)});
  CHECK(out[0].data == (std::vector<double>{0, 0, 7, 8}) && out[1].data == std::vector<double>{1});
}

// A run that fails in its middle, when the next state was written already.
TEST(session_states_stay_when_a_run_fails) {
  Net net;
  const int table = net.input("table", DType::f32, {"3", "2"}), index = net.input("index", DType::i64, {"n"});
  const int kept = net.graph.add_state("kept", testing::floats({3, 2}, 1.0f));
  net.graph.set_state(kept, net.add("flip", {table}, {{"axes", Dims{0}}}));
  net.graph.add_output(net.add("take", {kept, index}, {{"axis", Dims{0}}}), "rows");
  Session session(model_of(net.graph), 1);
  CHECK_THROWS(testing::run(session, {ramp({3, 2}), Values{{1}, {3}}}), "take");
  CHECK_EQ(session.state("kept").as<float>()[0], 1.0f);
  CHECK_EQ(testing::run(session, {ramp({3, 2}), Values{{1}, {2}}})[0].data[0], 1.0);
  CHECK_EQ(testing::run(session, {ramp({3, 2}), Values{{1}, {2}}})[0].data[0], 0.0);
}

// Outputs that are inputs, constants, the same as others, views of others.
TEST(session_outputs_of_every_kind) {
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "2", "3"});
  const int flipped = net.add("flip", {x}, {{"axes", Dims{2}}});
  const int flat = net.add("reshape", {flipped}, {{"shape", Dims{-1}}});
  const int again = net.add("reshape", {flat}, {{"shape", Dims{-1, 3}}});
  const int part = net.add("slice", {again}, {{"axis", Dims{0}}, {"start", Dims{1}}, {"end", Dims{2}}});
  const int constant = net.add("constant", {}, {}, {{"value", testing::floats({2}, 4.0f)}});
  for (const auto& [name, value] : {std::pair{"x", x},
                                    {"x again", x},
                                    {"flipped", flipped},
                                    {"flat", flat},
                                    {"again", again},
                                    {"part", part},
                                    {"constant", constant},
                                    {"flat again", flat}})
    net.graph.add_output(value, name);
  Session session(model_of(net.graph), 1);
  for (const int64_t batch : {1, 2, 1, 5}) {
    const auto out = testing::run(session, {ramp({batch, 2, 3}, 1.0)});
    std::vector<double> turned;
    for (int64_t row = 0; row < batch * 2; ++row)
      for (int64_t i = 3; i > 0; --i) turned.push_back(static_cast<double>(row * 3 + i));
    CHECK(out[0].data == ramp({batch, 2, 3}, 1.0).data && out[1].data == out[0].data);
    for (const size_t i : {2, 3, 4, 7}) CHECK(out[i].data == turned);
    CHECK(out[5].data == (std::vector<double>{6, 5, 4}));
    CHECK(out[6].data == (std::vector<double>{4, 4}));
  }
}

// What may be written over: not what is read later, not what leaves, not one input where the other lies there, too.
TEST(session_in_place_only_where_nobody_looks) {
  Net net;
  const int q = net.add("quantize", {net.input("x", DType::f32, {"batch", "4", "6", "6"})}, {}, {}, kHalf);
  const auto clamp = [&](int from, int64_t high) {
    return net.add("clamp", {from}, {{"low", Dims{0}}, {"high", Dims{high}}}, {}, kHalf);
  };
  const auto pool = [&](int from) { return net.add("max_pool2d", {from}, {{"kernel", Dims{1}}}, {}, kHalf); };
  const int a = pool(q), b = clamp(a, 20), c = clamp(a, 10);  // b may not overwrite a
  const int joined = net.add("concat", {b, c}, {{"axis", Dims{1}}}, {}, kHalf);
  const int half = net.add("slice", {joined}, {{"axis", Dims{1}}, {"start", Dims{0}}, {"end", Dims{4}}}, {}, kHalf);
  const int sum = net.add("add", {half, b}, {}, {}, kHalf);  // both are the same memory
  const int late = net.add("add", {joined, joined}, {}, {}, kHalf);
  for (const auto& [name, value] : {std::pair{"sum", sum}, {"late", late}, {"a", a}})
    net.graph.add_output(net.add("dequantize", {value}), name);
  Session session(model_of(net.graph), 2);
  for (const int64_t batch : {1, 3}) {
    const Values x = ramp({batch, 4, 6, 6}, 0.0, 0.5);
    const auto out = testing::run(session, {x});
    const auto bounded = [&](double value, double high) { return std::min(std::min(value, 127.5), high); };
    for (int64_t n = 0; n < batch; ++n)
      for (int64_t c4 = 0; c4 < 4; ++c4)
        for (int64_t i = 0; i < 36; ++i) {
          const auto at = static_cast<size_t>((n * 4 + c4) * 36 + i), at8 = static_cast<size_t>((n * 8 + c4) * 36 + i);
          CHECK_EQ(out[0].data[at], 2 * bounded(x.data[at], 10.0));
          CHECK_EQ(out[1].data[at8], 2 * bounded(x.data[at], 10.0));
          CHECK_EQ(out[1].data[at8 + 4 * 36], 2 * bounded(x.data[at], 5.0));
          CHECK_EQ(out[2].data[at], bounded(x.data[at], 127.5));
        }
  }
}

// Positions, of which a part leaves, too, next to what follows from the input.
TEST(session_makes_once_what_follows_from_sizes) {
  Net net;
  const int x = net.input("x", DType::f32, {"rows", "1"});
  const Dim rows = net.size("rows");
  const int positions =
      net.add("arange", {}, {{"start", Dims{0}}, {"end", Dims{rows}}, {"step", Dims{1}}, {"dtype", testing::word("float32")}});
  const int column = net.add("reshape", {positions}, {{"shape", Dims{rows, 1}}});
  const int turned = net.add("flip", {column}, {{"axes", Dims{0}}});
  net.graph.add_output(net.add("concat", {x, turned}, {{"axis", Dims{1}}}), "joined");
  net.graph.add_output(positions, "positions");
  Session session(model_of(net.graph), 1);
  for (const int64_t n : {3, 5, 3, 0, 5}) {
    for (int run = 0; run < 2; ++run) {
      const auto out = testing::run(session, {ramp({n, 1}, 10.0)});
      CHECK(out[1].data == ramp({n}).data);
      for (int64_t i = 0; i < n; ++i) {
        CHECK_EQ(out[0].data[static_cast<size_t>(i * 2)], 10.0 + static_cast<double>(i));
        CHECK_EQ(out[0].data[static_cast<size_t>(i * 2 + 1)], static_cast<double>(n - 1 - i));
      }
    }
    CHECK_EQ(session.milliseconds()[0], 0.0);  // the positions were there
  }
}

TEST(session_answers_others_while_it_runs) {
  Net net;
  const int q = net.add("quantize", {net.input("x", DType::f32, {"batch", "4", "height", "8"})}, {}, {}, kHalf);
  net.graph.add_output(net.add("dequantize", {q}), "y");
  Session session(model_of(net.graph), 1);
  std::atomic<bool> done{false};
  std::thread other([&] {
    while (!done) {
      (void)session.milliseconds();
      (void)session.macs();
      (void)session.activation_bytes();
      const std::vector<Sizes> sizes = {{3, 4, 5, 8}};
      CHECK(session.output_shapes(sizes)[0] == sizes[0]);
    }
  });
  for (int64_t i = 0; i < 300; ++i) testing::run(session, {ramp({i % 4, 4, i % 20 + 1, 8})});
  done = true;
  other.join();
}

}  // namespace
}  // namespace niwaki
