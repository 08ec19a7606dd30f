// Random networks along time: where stream() takes one, its pieces are to the bit the whole signal, of any number of pieces.
#include <array>
#include <bit>
#include <memory>

#include "graph/stream/stream.h"
#include "runtime/session_for_test.h"

namespace niwaki {
namespace {

using testing::Random;
using testing::Values;

constexpr int64_t kPieces = 23;

Tensor random_tensor(Random& random, std::vector<int64_t> shape) {
  std::vector<float> values(static_cast<size_t>(elements_of(shape)));
  for (float& value : values) value = random.real(-0.6f, 0.6f);
  return Tensor::copy_of(DType::f32, std::move(shape), values.data());
}

// Layers on signals [1, channels, length], drawn at random; some look ahead, and some do not divide a piece.
class Drawn {
 public:
  explicit Drawn(uint64_t seed) : random_(seed) {
    length_ = graph_.add_size("length");
    value_ = graph_.add_input("x", DType::f32, {1, 3, length_});
    channels_ = 3;
    const int layers = random_.integer(1, 5);
    for (int i = 0; i < layers; ++i) {
      const size_t before = graph_.nodes().size();
      const int kept = value_;
      const int64_t channels = channels_;
      try {
        layer();
      } catch (const Error&) {  // one that does not fit: what it was made of stays unused
        value_ = kept;
        channels_ = channels;
      }
      if (graph_.nodes().size() != before && random_.integer(0, 3) == 0) add_earlier(kept);
    }
    graph_.add_output(value_, "y");
  }

  Graph take() { return std::move(graph_); }

 private:
  int64_t draw(int64_t low, int64_t high) { return random_.integer(static_cast<int32_t>(low), static_cast<int32_t>(high)); }
  int add(const char* op, std::vector<int> inputs, Attributes attributes, Tensors tensors = {},
          std::vector<std::optional<Quantization>> scales = {}) {
    return graph_.add_node(op, op + std::to_string(graph_.nodes().size()), std::move(inputs), std::move(attributes),
                           std::move(tensors), std::move(scales));
  }
  // Front and back of the signal, and of its channels.
  Attribute padding(int64_t channels, int64_t front, int64_t back) { return Dims{0, 0, channels, 0, front, back}; }

  void layer() {
    const auto scale = Quantization{0.03f, 110};
    switch (draw(0, 13)) {
      case 0: {
        const double number = draw(0, 1) * 0.75;
        value_ = add("pad", {value_}, {{"padding", padding(0, draw(0, 6), draw(-3, 3))}, {"value", std::vector<double>{number}}});
        break;
      }
      case 1: {
        const double number = draw(0, 1) * 0.75;
        value_ = add("pad", {value_}, {{"padding", padding(1, draw(0, 2), 0)}, {"value", std::vector<double>{number}}});
        ++channels_;
        break;
      }
      case 2:
      case 3:
      case 4: {  // often with as much in front as a causal one has
        const int64_t kernel = draw(1, 4), dilation = draw(1, 3), stride = draw(1, 3), outputs = draw(1, 4);
        const int64_t front = draw(0, 3) == 0 ? draw(0, 6) : std::max<int64_t>(0, (kernel - 1) * dilation + 1 - stride);
        const int made = add("convolution", {value_},
                             {{"stride", Dims{stride}}, {"dilation", Dims{dilation}}, {"padding", Dims{front, draw(0, 3)}}},
                             {{"weight", random_tensor(random_, {outputs, channels_, kernel})}});
        value_ = made, channels_ = outputs;
        break;
      }
      case 5: {
        const int64_t kernel = draw(1, 4), stride = draw(1, kernel);
        value_ = add("pool", {add("pad", {value_}, {{"padding", padding(0, draw(kernel - stride, kernel - 1), 0)}})},
                     {{"function", std::string(draw(0, 1) == 0 ? "max" : "average")},
                      {"kernel", Dims{kernel}},
                      {"stride", Dims{stride}},
                      {"ceil_mode", Dims{draw(0, 1)}}});
        // A last window that is no whole one is none of the stream's.
        if (draw(0, 1) == 0) value_ = add("slice", {value_}, {{"axis", Dims{2}}, {"end", Dims{-1}}});
        break;
      }
      case 6:
        value_ = add("slice", {value_},
                     {{"axis", Dims{2}},
                      {"start", Dims{draw(0, 3)}},
                      {"end", Dims{draw(0, 1) == 0 ? INT64_MAX : draw(-4, -1)}},
                      {"step", Dims{draw(1, 3)}}});
        break;
      case 7: value_ = add("cumsum", {value_}, {{"axis", Dims{draw(1, 2)}}}); break;
      case 8: value_ = add("unary", {value_}, {{"function", std::string(draw(0, 1) == 0 ? "tanh" : "cos")}}); break;
      case 9: {  // frames
        const int64_t frame = draw(2, 4);
        const int cut = add("reshape", {value_}, {{"shape", Dims{1, channels_, -1, frame}}});
        value_ =
            add("reshape", {add("permute", {cut}, {{"axes", Dims{0, 1, 3, 2}}})}, {{"shape", Dims{1, channels_ * frame, -1}}});
        channels_ *= frame;
        break;
      }
      case 10: {
        const int bytes = add("quantize", {value_}, {}, {}, {scale});
        const int clamped = add("clamp", {bytes}, {{"low", Dims{draw(0, 1) * 110}}}, {}, {scale});
        value_ = add("dequantize", {clamped}, {});
        break;
      }
      case 11: {
        const int rows = add("permute", {value_}, {{"axes", Dims{0, 2, 1}}});
        const int steps =
            add("recurrent", {rows}, {{"kind", std::string("gru")}, {"hidden", Dims{5}}, {"batch_first", Dims{1}}},
                {{"w_ih_l0", random_tensor(random_, {15, channels_})}, {"w_hh_l0", random_tensor(random_, {15, 5})}});
        value_ = add("permute", {steps}, {{"axes", Dims{0, 2, 1}}});
        channels_ = 5;
        break;
      }
      case 12: {  // often one whose end is cut to what the signal has
        const int64_t kernel = draw(1, 5), dilation = draw(1, 2), stride = draw(1, 3), outputs = draw(1, 4);
        const int64_t front = draw(0, 3) == 0 ? draw(1, 3) : 0, reach = (kernel - 1) * dilation,
                      more = std::max(stride, dilation) - 1;
        value_ = add("convolution", {value_},
                     {{"stride", Dims{stride}},
                      {"dilation", Dims{dilation}},
                      {"padding", Dims{front, draw(0, 1)}},
                      {"transposed", Dims{1}},
                      {"output_padding", Dims{draw(0, more)}}},
                     {{"weight", random_tensor(random_, {channels_, outputs, kernel})}});
        if (reach >= stride)
          value_ = add("slice", {value_}, {{"axis", Dims{2}}, {"end", Dims{draw(-1, 1) + stride - 1 - reach}}});
        channels_ = outputs;
        break;
      }
      default: {
        const int front = add("full", {}, {{"shape", Dims{1, channels_, draw(1, 3)}}, {"value", std::vector<double>{0.0}}});
        value_ = add("concat", {front, value_}, {{"axis", Dims{2}}});
      }
    }
  }

  // A shortcut around a layer, which fits where the layer keeps the signal's shape.
  void add_earlier(int earlier) {
    const Dims& dims = graph_.value(earlier).dims;
    const int64_t channels = dims[1].value();
    if (channels != channels_) return;
    try {
      const int cut = add("slice", {value_}, {{"axis", Dims{2}}, {"end", Dims{dims[2]}}});
      value_ = add("binary", {cut, earlier}, {{"function", std::string("add")}});
    } catch (const Error&) {}
  }

  Random random_;
  Graph graph_;
  Dim length_;
  int value_ = -1;
  int64_t channels_ = 0;
};

bool same_bits(const std::vector<double>& a, const std::vector<double>& b) {
  return std::ranges::equal(
      a, b, [](double x, double y) { return std::bit_cast<uint64_t>(x) == std::bit_cast<uint64_t>(y) || (x != x && y != y); });
}

// The parts, one after the other along axis 2.
Values joined(const std::vector<Values>& parts) {
  Values made{parts[0].shape, {}};
  made.shape[2] *= static_cast<int64_t>(parts.size());
  for (int64_t row = 0; row < made.shape[1]; ++row)
    for (const Values& part : parts) {
      const auto begin = part.data.begin() + static_cast<std::ptrdiff_t>(row * part.shape[2]);
      made.data.insert(made.data.end(), begin, begin + static_cast<std::ptrdiff_t>(part.shape[2]));
    }
  return made;
}

Values signal_of(int64_t length) {
  Random random(77);
  Values made{{1, 3, length}, {}};
  for (int64_t i = 0; i < 3 * length; ++i) made.data.push_back(static_cast<double>(random.real(-2.0f, 2.0f)));
  return made;
}

Values part_of(const Values& signal, int64_t begin, int64_t count) {
  Values made{{1, 3, count}, {}};
  for (int64_t row = 0; row < 3; ++row)
    for (int64_t i = 0; i < count; ++i) made.data.push_back(signal.data[static_cast<size_t>(row * signal.shape[2] + begin + i)]);
  return made;
}

TEST(stream_random_networks_equal_whole_signals) {
  int streamed = 0, transposed = 0;
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    const Graph graph = Drawn(seed).take();
    const int64_t piece = std::array<int64_t, 6>{1, 2, 3, 5, 6, 12}[seed % 6];
    Graph pieces;
    try {
      pieces = stream(graph, {"length", piece, {}});
    } catch (const Error& error) {
      CHECK(error.status() == Status::invalid_argument);
      continue;
    }
    Session whole(std::make_shared<const Model>(graph, current_isa()), 1),
        part(std::make_shared<const Model>(pieces, current_isa()), 1);
    const Values signal = signal_of(kPieces * piece);
    std::vector<Values> wanted, found;
    try {
      wanted = testing::run(whole, {signal});
    } catch (const Error&) {  // too short a signal
      continue;
    }
    for (int64_t i = 0; i < kPieces; ++i) found.push_back(testing::run(part, {part_of(signal, i * piece, piece)}).at(0));
    const Values all = joined(found);
    const bool same = all.shape == wanted[0].shape && same_bits(all.data, wanted[0].data);
    if (!same) testing::fail("seed", static_cast<int>(seed), "the pieces are not the whole signal");
    ++streamed;
    transposed += std::ranges::any_of(
        pieces.nodes(), [](const Node& node) { return node.op == Op::convolution && node.integer("transposed") != 0; });
  }
  CHECK(streamed > 300);
  CHECK(transposed > 30);
}

// The convolution has run, and its context is written, when the table is asked for a row that it has not.
TEST(stream_is_where_it_was_after_an_error) {
  constexpr int64_t kPiece = 4;
  Graph graph;
  Random random(3);
  const Dim length = graph.add_size("length");
  const int x = graph.add_input("x", DType::f32, {1, 3, length}), ids = graph.add_input("ids", DType::i64, {1, length});
  const int padded = graph.add_node("pad", "front", {x}, {{"padding", Dims{0, 0, 0, 0, 4, 0}}}, {});
  const int first = graph.add_node("convolution", "first", {padded}, {}, {{"weight", random_tensor(random, {3, 3, 5})}});
  const int sums = graph.add_node("cumsum", "sums", {first}, {{"axis", Dims{2}}}, {});
  const int table = graph.add_node("constant", "table", {}, {}, {{"value", random_tensor(random, {6, 3})}});
  const int rows = graph.add_node("take", "rows", {table, ids}, {{"axis", Dims{0}}}, {});
  const int turned = graph.add_node("permute", "turned", {rows}, {{"axes", Dims{0, 2, 1}}}, {});
  graph.add_output(graph.add_node("binary", "both", {sums, turned}, {{"function", std::string("add")}}, {}), "y");

  const Values signal = signal_of(kPieces * kPiece);
  Values places{{1, kPieces * kPiece}, {}};
  for (int64_t i = 0; i < kPieces * kPiece; ++i) places.data.push_back(static_cast<double>(random.integer(0, 5)));
  Session whole(std::make_shared<const Model>(graph, current_isa()), 1);
  Session part(std::make_shared<const Model>(stream(graph, {"length", kPiece, {}}), current_isa()), 1);
  std::vector<Values> found;
  for (int64_t i = 0; i < kPieces; ++i) {
    Values some{{1, kPiece}, {places.data.begin() + i * kPiece, places.data.begin() + (i + 1) * kPiece}};
    if (i % 3 == 1) {
      Values wrong = some;
      wrong.data[2] = 6.0;
      CHECK_THROWS(testing::run(part, {part_of(signal, 0, kPiece), wrong}), "rows");
    }
    found.push_back(testing::run(part, {part_of(signal, i * kPiece, kPiece), some}).at(0));
  }
  CHECK(same_bits(joined(found).data, testing::run(whole, {signal, places}).at(0).data));
}

}  // namespace
}  // namespace niwaki
