// What stream() refuses, for pieces of it would not be the whole signal.
#include "graph/stream/stream.h"

#include "graph/test_tools.h"

namespace niwaki {
namespace {

using testing::floats;
using testing::Net;

// A signal [1, 4, length].
struct Signal : Net {
  int x;
  explicit Signal(int64_t high = INT64_MAX) {
    const Dim length = graph.add_size("length", 0, high);
    x = graph.add_input("x", DType::f32, {1, 4, length});
  }
  int slice(int64_t start, int64_t end) {
    return add("slice", {x}, {{"axis", Dims{2}}, {"start", Dims{start}}, {"end", Dims{end}}});
  }
  int causal(int value, int64_t channels) {
    return add("convolution", {value}, {}, {{"weight", floats({2, channels, 3}, 0.5f)}});
  }
  Graph streamed(int value, int64_t piece = 8) {
    graph.add_output(value, "y");
    return stream(graph, {"length", piece, {}});
  }
};

TEST(stream_refuses_what_only_short_signals_allow) {
  // The first hundred elements, or the last, are all of a shorter signal.
  for (const int64_t piece : {1, 8, 12}) {
    Signal cropped, last, longer;
    CHECK_THROWS(cropped.streamed(cropped.slice(0, 100), piece), "makes another number of elements of the whole signal");
    CHECK_THROWS(last.streamed(last.slice(-100, INT64_MAX), piece), "begins where the length of the signal says");
    const Dim length = longer.graph.value(longer.x).dims[2];
    const Dim lacks = max(Dim(0), Dim(1000000) - length);
    const int filled = longer.add("pad", {longer.x}, {{"padding", Dims{0, 0, 0, 0, lacks, 0}}});
    CHECK_THROWS(longer.streamed(filled, piece), "pads the front of the signal by what its length says");
  }
}

TEST(stream_refuses_signals_with_an_end) {
  Signal limited(4096), guarded, free;
  CHECK_THROWS(limited.streamed(limited.x), "takes signals of at most 4096 along 'length', and a stream has no end");
  const Dim length = guarded.graph.value(guarded.x).dims[2];
  guarded.graph.add_guard({{{{length, Relation::less_equal, Dim(3000)}}}, "length must be at most 3000."});
  CHECK_THROWS(guarded.streamed(guarded.x), "a stream has no end: length must be at most 3000.");
  free.graph.add_guard({{{{mod(length, Dim(4)), Relation::equal, Dim(0)}}}, "length must be a multiple of 4."});
  free.streamed(free.x);
}

TEST(stream_knows_what_is_before_the_signal) {
  // Zeros in front of the signal, and then a channel of ones: before the signal that channel is no zero.
  Signal unlike, alike;
  const auto network = [](Signal& net, double number) {
    const int front = net.add("pad", {net.x}, {{"padding", Dims{0, 0, 0, 0, 2, 0}}});
    const int wider = net.add("pad", {front}, {{"padding", Dims{0, 0, 1, 0, 0, 0}}, {"value", std::vector<double>{number}}});
    return net.causal(wider, 5);
  };
  CHECK_THROWS(unlike.streamed(network(unlike, 1.0)), "padding in front of the signal");
  alike.streamed(network(alike, 0.0));
}

// Layers that begin with the caller's state: each piece begins with what the last one gave.
TEST(stream_with_a_state_of_the_caller) {
  enum class What { given, computed, kept_back };
  const auto network = [](What what) {
    Net net;
    const Dim length = net.graph.add_size("length");
    const int x = net.graph.add_input("x", DType::f32, {1, length, 4}), h = net.graph.add_input("h", DType::f32, {1, 5});
    int begin = net.add("reshape", {h}, {{"shape", Dims{1, 1, 5}}});
    if (what == What::computed) begin = net.add("unary", {begin}, {{"function", std::string("tanh")}});
    const int y = net.add("recurrent", {x, begin}, {{"kind", std::string("gru")}, {"hidden", Dims{5}}, {"batch_first", Dims{1}}},
                          testing::recurrent_tensors(3, 4, 5, 1, 1));
    net.graph.add_output(y, "y");
    if (what != What::kept_back) net.graph.add_output(net.add("reshape", {y + 1}, {{"shape", Dims{1, 5}}}), "last");
    return stream(net.graph, {"length", 4, {}});
  };
  CHECK_EQ(network(What::given).states().size(), size_t{0});
  CHECK_THROWS(network(What::computed), "computed of an input");
  CHECK_THROWS(network(What::kept_back), "is no output");
}

TEST(stream_checks_its_options) {
  Signal net;
  net.graph.add_output(net.x, "y");
  CHECK_THROWS(stream(net.graph, {"length", 4, {{"length", 2}}}), "give no other size for it");
  Net empty;
  const Dim length = empty.graph.add_size("length");
  const int x = empty.graph.add_input("x", DType::f32, {0, length, 0});
  empty.graph.add_output(empty.add("reshape", {x}, {{"shape", Dims{0, length, 5}}}), "y");
  CHECK_THROWS(stream(empty.graph, {"length", 4, {}}), "no elements");
}

}  // namespace
}  // namespace niwaki
