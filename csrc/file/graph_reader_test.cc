// Graphs of format 3 that no writer makes: each is refused in one sentence, when it is read or when it is called.
#include "file/graph_reader.h"

#include <functional>

#include "file/test_tools.h"
#include "graph/shapes.h"

namespace niwaki {
namespace {

using namespace testing;

constexpr uint8_t kConstant = 0, kSize = 1, kAdd = 2, kMul = 4, kFloorDiv = 5, kMod = 6;

using Write = std::function<void(WordWriter&)>;

Write constant(int64_t value) {
  return [=](WordWriter& out) { out.number(kConstant), out.integer(value); };
}
Write size(uint64_t index) {
  return [=](WordWriter& out) { out.number(kSize), out.natural(index); };
}
Write both(uint8_t operation, const Write& left, const Write& right) {
  return [=](WordWriter& out) { out.number(operation), left(out), right(out); };
}

// Inputs x [batch, length] and y [batch, an expression], a state of 4 elements, a node that makes 4 elements and one that makes [batch, an
// expression]: values 0 to 4 in this order.
struct Forged {
  uint64_t low = 1, high = 1000, hint = 8;
  Write second = size(1), guarded = size(1), filled = size(1);
  uint64_t read = 2, next = 3, output = 4;
  Tensor initial = tensor_of<float>(DType::f32, {4}, {1, 2, 3, 4});

  Graph graph() const {
    WordWriter out;
    out.natural(0);  // metadata
    out.natural(2);
    const auto free_size = [&](const char* name, uint64_t from, uint64_t to, uint64_t expected) {
      out.string(name), out.natural(from), out.natural(to), out.natural(expected);
    };
    free_size("batch", 1, 64, 1), free_size("length", low, high, hint);
    out.natural(2);
    for (const bool first : {true, false}) {
      out.string(first ? "x" : "y"), out.number(static_cast<uint8_t>(DType::f32)), out.natural(2);
      size(0)(out), first ? size(1)(out) : second(out);
    }
    out.natural(1);
    out.string("seen"), out.natural(0), out.natural(next);
    out.natural(1);
    out.string("Input 'x': its length is not taken."), out.natural(1), out.natural(1);
    guarded(out), out.number(static_cast<uint8_t>(Relation::not_equal)), constant(77)(out);
    out.natural(2);
    const auto node = [&](const char* op, const char* name) { out.string(op), out.string(name); };
    node("unary", "later"), out.natural(1), out.natural(read + 1), out.natural(1), out.string("function");
    out.number(uint8_t{3}), out.string("tanh"), out.natural(0), out.natural(1), out.number(uint8_t{0});
    node("full", "filled"), out.natural(0), out.natural(3);
    out.string("dtype"), out.number(uint8_t{3}), out.string("float32");
    out.string("shape"), out.number(uint8_t{1}), out.natural(2), size(0)(out), filled(out);
    out.string("value"), out.number(uint8_t{2}), out.natural(1), out.number(1.0);
    out.natural(0), out.natural(1), out.number(uint8_t{0});
    out.natural(1);
    out.natural(output), out.string("z");
    const auto bytes = out.take_with_strings();
    const std::string path = "test";
    WordReader in(bytes, format::kVersion, path, "the graph",
                  [](const std::string&, const std::string& what) { throw Error(Status::invalid_file, what); });
    in.limit(1 << 20);
    return std::move(read_graphs(in, format::kVersion, {initial}, nullptr)[0].graph);
  }

  // What is said when it is read; nothing where it is.
  std::string reading() const {
    return said([&] { graph(); });
  }

  // What is said when it is called with x [2, length] and y [2, other].
  std::string calling(int64_t length, int64_t other) const {
    const Graph read_graph = graph();
    return said([&] { infer_shapes(read_graph, std::vector<Sizes>{{2, length}, {2, other}}); });
  }

  static std::string said(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
};

#define CHECK_SAYS(text, part)                                                                            \
  do {                                                                                                    \
    const std::string said_ = (text);                                                                     \
    if (said_.find(part) == std::string::npos) testing::fail(__FILE__, __LINE__, "says '" + said_ + "'"); \
  } while (false)

TEST(graph_reader_takes_what_is_right) {
  const Forged good;
  CHECK_EQ(good.reading(), "");
  CHECK_EQ(good.calling(9, 9), "");
  CHECK_SAYS(good.calling(77, 77), "its length is not taken");
}

TEST(graph_reader_sizes_that_no_number_fits) {
  Forged crossed, beyond, hinted;
  crossed.low = 9, crossed.high = 8;
  CHECK_SAYS(crossed.reading(), "cannot lie in 9 to 8");
  beyond.high = uint64_t{1} << 63;
  CHECK_SAYS(beyond.reading(), "above 2^63 - 1");
  hinted.hint = uint64_t{1} << 31;
  CHECK_SAYS(hinted.reading(), "2^31 - 1");
}

TEST(graph_reader_expressions_that_fail_when_called) {
  const Write less = both(kAdd, size(1), constant(-9)), quotient = both(kFloorDiv, constant(8), less);
  const Write far = both(kMul, both(kMul, size(1), constant(INT64_MAX / 1000)), size(1));
  Forged forged;
  forged.second = quotient;
  CHECK_EQ(forged.calling(11, 4), "");
  CHECK_SAYS(forged.calling(9, 4), "divides by zero");
  CHECK_SAYS(forged.calling(3, 4), "Input 'y'");  // -2 elements
  forged.second = far;
  CHECK_SAYS(forged.calling(1000, 4), "does not fit 64 bits");
  forged = Forged();
  forged.guarded = both(kMod, constant(8), less);
  CHECK_EQ(forged.calling(11, 11), "");
  CHECK_SAYS(forged.calling(9, 9), "its length is not taken");
  forged.guarded = far;
  CHECK_SAYS(forged.calling(1000, 1000), "its length is not taken");
  forged = Forged();
  forged.filled = quotient;
  CHECK_EQ(forged.calling(11, 11), "");
  CHECK_SAYS(forged.calling(9, 9), "divides by zero");
  CHECK_SAYS(forged.calling(3, 3), "filled");
  forged.filled = far;
  CHECK_SAYS(forged.calling(1000, 1000), "does not fit 64 bits");
  forged.filled = both(kMul, both(kMul, size(1), constant(1 << 21)), constant(3));  // fits a number, no value
  CHECK_SAYS(forged.calling(1000, 1000), "filled");
}

TEST(graph_reader_expressions_of_sizes_that_come_later) {
  for (Write Forged::* place : {&Forged::second, &Forged::guarded, &Forged::filled}) {
    Forged forged;
    forged.*place = size(2);
    CHECK_SAYS(forged.reading(), "free size 2 does not exist");
    Write deep = size(0);
    for (int i = 0; i < 100; ++i) deep = both(i % 2 == 0 ? kAdd : kMul, size(1), deep);
    forged.*place = deep;
    CHECK_SAYS(forged.reading(), "nested more than 64 deep");
  }
}

TEST(graph_reader_values_that_do_not_exist) {
  for (const uint64_t nowhere : {uint64_t{6}, uint64_t{0x7fffffff}, uint64_t{0xfffffff0}}) {
    Forged output, next, read;
    output.output = nowhere, next.next = nowhere, read.read = nowhere;
    CHECK_SAYS(output.reading(), "Output 'z': there is no value");
    CHECK_SAYS(next.reading(), "State 'seen': there is no value");
    CHECK_SAYS(read.reading(), "later");
  }
  Forged itself;
  itself.read = 3;  // its own result
  CHECK_SAYS(itself.reading(), "later");
  itself.read = 4;  // a node that comes later
  CHECK_SAYS(itself.reading(), "later");
}

TEST(graph_reader_states_that_become_something_else) {
  Forged forged;
  forged.initial = tensor_of<int32_t>(DType::i32, {4}, {1, 2, 3, 4});
  CHECK_SAYS(forged.reading(), "later");
  forged.read = 0;  // of x: float32
  CHECK_SAYS(forged.reading(), "State 'seen' is int32");
  forged = Forged();
  forged.next = 4;  // [batch, length]
  CHECK_SAYS(forged.reading(), "State 'seen'");
  forged.initial = tensor_of<float>(DType::f32, {2, 2}, {1, 2, 3, 4});
  CHECK_EQ(forged.reading(), "");  // where batch and length are 2
  CHECK_EQ(forged.calling(2, 2), "");
  CHECK_SAYS(forged.calling(3, 3), "State 'seen'");
}

}  // namespace
}  // namespace niwaki
