// A stream from C: a file whose runs take pieces of a signal, against the file for whole signals.
#include <algorithm>

#include "capi/test_tools.h"
#include "graph/shapes.h"
#include "graph/stream/stream.h"

namespace niwaki {
namespace {

using namespace capi_testing;

constexpr int64_t kPiece = 512, kFrames = kPiece / 128, kPieces = 312, kHidden = 24;  // ten seconds of 16 kHz

Tensor random_floats(std::vector<int64_t> shape, uint64_t seed, float most) {
  std::vector<float> values = noise(static_cast<size_t>(elements_of(shape)), seed);
  for (float& value : values) value *= most / 2.0f;
  return Tensor::copy_of(DType::f32, std::move(shape), values.data());
}

// Frames of 256 samples every 128, a causal convolution of bytes with the stride 1 and one over every second frame, an LSTM.
Graph listener() {
  Graph graph;
  const Dim length = graph.add_size("length", 1, INT64_MAX, kPiece);
  const int x = graph.add_input("x", DType::f32, {1, length});
  const int rows = graph.add_node("reshape", "rows", {x}, {{"shape", Dims{1, 1, length}}}, {});
  const int padded = graph.add_node("pad", "front", {rows}, {{"padding", Dims{0, 0, 0, 0, 128, 0}}}, {});
  const int frames = graph.add_node("convolution", "frames", {padded}, {{"stride", Dims{128}}},
                                    {{"weight", random_floats({24, 1, 256}, 1, 0.1f)}});
  const int image =
      graph.add_node("reshape", "image", {frames}, {{"shape", Dims{1, 24, 1, floor_div(length - 128, 128) + 1}}}, {});
  const int q = graph.add_node("quantize", "q", {image}, {}, {}, {Quantization{0.02f, 120}});
  const int first = graph.add_node("conv2d", "first", {q}, {{"padding", Dims{0, 4, 0, 0}}, {"dilation", Dims{1, 2}}},
                                   layer({24, 24, 1, 3}, 60, 2), {Quantization{0.03f, 100}});
  const int second = graph.add_node("conv2d", "second", {first}, {{"padding", Dims{0, 1, 0, 0}}, {"stride", Dims{1, 2}}},
                                    layer({16, 24, 1, 3}, 60, 3), {Quantization{0.05f, 128}});
  const int floats = graph.add_node("dequantize", "floats", {second}, {}, {});
  const int steps = graph.add_node("reshape", "steps", {floats}, {{"shape", Dims{1, 16, -1}}}, {});
  const int turned = graph.add_node("permute", "turned", {steps}, {{"axes", Dims{0, 2, 1}}}, {});
  const int y = graph.add_node(
      "recurrent", "lstm", {turned}, {{"kind", std::string("lstm")}, {"hidden", Dims{kHidden}}, {"batch_first", Dims{1}}},
      {{"w_ih_l0", random_floats({4 * kHidden, 16}, 4, 0.5f)}, {"w_hh_l0", random_floats({4 * kHidden, kHidden}, 5, 0.5f)}});
  graph.add_output(y, "y");
  graph.add_output(y + 1, "h");
  return graph;
}

struct Feed {
  std::vector<float> y = std::vector<float>(kPieces * kFrames / 2 * kHidden), h = std::vector<float>(kHidden);

  niwaki_status run(niwaki_session* session, const std::vector<float>& signal, int64_t from, int64_t length) {
    niwaki_tensor input = tensor(const_cast<float*>(signal.data()) + from, static_cast<size_t>(length) * 4, {2, {1, length}});
    const size_t at = static_cast<size_t>(from / 256 * kHidden);
    niwaki_tensor outputs[2] = {tensor(y.data() + at, (y.size() - at) * 4, {-1, {}}), tensor(h.data(), h.size() * 4, {-1, {}})};
    return niwaki_run(session, &input, 1, outputs, 2);
  }
};

TEST(capi_streams_equal_whole_signals) {
  const Graph graph = listener();
  const std::vector<uint8_t> whole_file = bytes_of(graph), stream_file = bytes_of(stream(graph, {"length", kPiece, {}}));
  const std::vector<float> signal = noise(kPieces * kPiece, 6);
  Feed whole, pieces;
  Opened once({}, whole_file);
  REQUIRE(whole.run(once.session, signal, 0, kPieces * kPiece) == NIWAKI_OK);

  Meter meter;
  Opened opened(meter.options(1), stream_file);
  size_t count = 0;
  CHECK_EQ(niwaki_model_state_count(opened.model, &count), NIWAKI_OK);
  CHECK_EQ(count, size_t{5});  // of three convolutions, h and c
  for (int round = 0; round < 2; ++round) {
    for (int64_t piece = 0; piece < kPieces; ++piece) {
      if (piece == 7)  // other sizes are refused, and change nothing
        for (const int64_t wrong : {kPiece - 1, kPiece + 1, int64_t{0}, 2 * kPiece})
          expect_error(pieces.run(opened.session, signal, 0, wrong), NIWAKI_INVALID_ARGUMENT, "[1, 512]", __LINE__);
      REQUIRE(pieces.run(opened.session, signal, piece * kPiece, kPiece) == NIWAKI_OK);
    }
    CHECK(pieces.y == whole.y);
    CHECK(pieces.h == whole.h);
    std::fill(pieces.y.begin(), pieces.y.end(), 0.0f);
    CHECK_EQ(niwaki_session_reset(opened.session), NIWAKI_OK);
  }
  const int calls = meter.calls;
  for (int piece = 0; piece < 5000; ++piece) pieces.run(opened.session, signal, piece % kPieces * kPiece, kPiece);
  CHECK_EQ(meter.calls.load(), calls);
}

TEST(capi_streams_go_on_in_another_session) {
  const Graph graph = stream(listener(), {"length", kPiece, {}});
  const std::vector<float> signal = noise(kPieces * kPiece, 7);
  Opened opened({}, bytes_of(graph));
  Feed all;
  for (int64_t piece = 0; piece < 3; ++piece) all.run(opened.session, signal, piece * kPiece, kPiece);
  niwaki_session* other = nullptr;
  REQUIRE(niwaki_session_create(opened.model, nullptr, &other) == NIWAKI_OK);
  for (const State& state : graph.states()) {
    std::vector<float> kept(static_cast<size_t>(state.initial.elements()));
    niwaki_tensor copy = tensor(kept.data(), kept.size() * 4, {-1, {}});
    CHECK_EQ(niwaki_session_get_state(opened.session, state.name.c_str(), &copy), NIWAKI_OK);
    CHECK_EQ(niwaki_session_set_state(other, state.name.c_str(), &copy), NIWAKI_OK);
  }
  Feed rest;
  for (int64_t piece = 3; piece < 6; ++piece) {
    CHECK_EQ(all.run(opened.session, signal, piece * kPiece, kPiece), NIWAKI_OK);
    CHECK_EQ(rest.run(other, signal, piece * kPiece, kPiece), NIWAKI_OK);
    CHECK(all.h == rest.h);
  }
  niwaki_session_close(other);
}

}  // namespace
}  // namespace niwaki
