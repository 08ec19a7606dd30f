// What a graph is made of besides its nodes: sizes, inputs, states, guards, outputs.
#include <new>

#include "graph/test_tools.h"
#include "testing/heap.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(graph_sizes) {
  Graph graph;
  CHECK(graph.add_size("batch", 1, 64, 8) == Dim::size(0));
  CHECK_THROWS(graph.add_size("batch"), "two free sizes 'batch'");
  CHECK_THROWS(graph.add_size(""), "needs a name");
  CHECK_THROWS(graph.add_size("height", -1, 4), "cannot lie in -1 to 4");
  CHECK_THROWS(graph.add_size("height", 5, 4), "cannot lie in 5 to 4");
  CHECK_THROWS(graph.add_size("height", 0, 4, int64_t{1} << 31), "from 0 (unknown) to 2^31 - 1");
  CHECK_EQ(graph.sizes().size(), size_t{1});
}

TEST(graph_inputs) {
  Graph graph;
  CHECK_THROWS(graph.add_input("x", DType::u8, {1}), "Input 'x' is uint8, which only values inside of a network are");
  CHECK_THROWS(graph.add_input("x", DType::f32, Dims(9, 1)), "Input 'x' has rank 9; 8 is the highest");
  CHECK_THROWS(graph.add_input("x", DType::f32, {-1}), "Input 'x': dim 0 must lie in 0 to 2^31 - 1, not -1");
  CHECK_THROWS(graph.add_input("x", DType::f32, {2, Dim::size(0)}),
               "Input 'x': dim 1 is neither a number nor made of free sizes");
  CHECK_THROWS(graph.add_input("x", DType::f32, {Dim::unknown()}), "neither a number");
  const int x = graph.add_input("x", DType::i64, {});
  CHECK_EQ(graph.value(x).rank(), 0);
  graph.add_output(x, "the same");
  CHECK_THROWS(graph.add_output(5, "y"), "Output 'y': there is no value 5");
  Images s;
  CHECK_THROWS(s.graph.add_output(s.x, "y"), "Output 'y': the value is uint8; dequantize it first");
}

TEST(graph_states) {
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "4"});
  const int h = net.graph.add_state("h", floats({1, 4}));
  CHECK_THROWS(net.graph.add_state("h", floats({1, 4})), "two states 'h'");
  CHECK_THROWS(net.graph.add_state("", floats({1, 4})), "needs a name");
  CHECK_THROWS(net.graph.set_state(x, h), "is no state");
  CHECK_THROWS(net.graph.set_state(h, 17), "State 'h': there is no value 17");
  CHECK_THROWS(net.graph.set_state(h, net.add("reshape", {h}, {{"shape", Dims{4}}})),
               "State 'h' is float32 [1, 4] and would become float32 [4]");
  CHECK_THROWS(net.graph.set_state(h, net.add("cast", {h}, {{"dtype", word("int64")}})), "would become int64 [1, 4]");
  const int next = net.add("binary", {x, h}, {{"function", word("add")}});
  net.graph.set_state(h, next);
  CHECK_EQ(net.graph.states()[0].next, next);
  CHECK_EQ(net.shape({{1, 4}}, next), "1 4");
  CHECK_THROWS(net.shape({{2, 4}}), "State 'h' has the shape [1, 4] and would become [2, 4]");
}

TEST(graph_guards) {
  Net net;
  net.input("x", DType::f32, {"batch", "width"});
  const Dim width = net.size("width");
  CHECK_THROWS(net.graph.add_guard({{{{width, Relation::less, 4}}}, ""}), "needs a sentence");
  CHECK_THROWS(net.graph.add_guard({{}, "never"}), "The guard 'never' has no cases");
  CHECK_THROWS(net.graph.add_guard({{{{width, Relation::less, Dim::size(9)}}}, "odd"}), "neither a number");
  CHECK_THROWS(net.graph.add_guard({{{{width, Relation::less, Dim::unknown()}}}, "odd"}), "neither a number");
  // 8 <= width < 100 and even, or 7.
  net.graph.add_guard({{{{8, Relation::less_equal, width}, {width, Relation::less, 100}, {mod(width, 2), Relation::equal, 0}},
                        {{width, Relation::equal, 7}}},
                       "Input 'x': dim 1 (width) must be 7, or even and from 8 to 98."});
  net.graph.add_guard(
      {{{{floor_div(Dim(100), width - 40), Relation::not_equal, 5}}}, "Input 'x': dim 1 (width) must not be 60."});
  for (const int64_t good : {7, 8, 98}) CHECK_EQ(net.shape({{2, good}}), "2 " + std::to_string(good));
  for (const int64_t bad : {0, 6, 9, 100}) CHECK_THROWS(net.shape({{2, bad}}), "Input 'x': dim 1 (width) must be 7, or even");
  CHECK_THROWS(net.shape({{2, 60}}), "must not be 60");
  CHECK_THROWS(net.shape({{2, 40}}), "must not be 60");  // divides by zero
}

TEST(graph_lets_go_of_data) {
  Images s;
  s.add_u8("conv2d", {s.x}, {}, layer({4, 8, 1, 1}));
  s.graph.forget_data(1);
  CHECK(s.graph.nodes()[1].tensor("weight").data() == nullptr);
  CHECK(s.graph.nodes()[1].tensor("weight").shape() == (Sizes{4, 8, 1, 1}));
}

// Whichever part of a copy finds no memory, what was made before goes away again, and nothing else.
TEST(graph_attributes_without_memory_for_a_copy) {
  const Attributes attributes = {{"axes", Dims{1, 2, 3}},
                                 {"numbers", std::vector<double>{0.5, 2.0}},
                                 {"word", std::string("more letters than a string holds without memory of its own")}};
  const size_t before = heap_live();
  int failed = 0;
  for (long n = 0; n < 30; ++n) {
    const FailingHeap heap(n, FailingHeap::Mode::once);
    try {
      Attributes copy = attributes;
      copy.at("axes") = attributes.at("word");
      CHECK(copy.at("axes") == attributes.at("word") && copy.at("numbers") == attributes.at("numbers"));
    } catch (const std::bad_alloc&) {
      ++failed;
    }
  }
  CHECK(failed >= 7 && failed < 30);
  CHECK_EQ(heap_live(), before);
}

}  // namespace
}  // namespace niwaki
