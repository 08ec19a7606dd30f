// What the tests of the C API share: a small network as the bytes of a file, arrays for a call, its right answer.
#pragma once

#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "file/file.h"
#include "graph/graph.h"
#include "niwaki/niwaki.h"
#include "runtime/session.h"
#include "testing/test.h"

namespace niwaki::capi_testing {

using testing::Random;

inline Tensors layer(std::vector<int64_t> shape, int kept, uint64_t seed) {
  Random random(seed);
  int64_t count = 1;
  for (int64_t size : shape) count *= size;
  std::vector<int8_t> weight(static_cast<size_t>(count));
  for (size_t i = 0; i < weight.size(); ++i)
    weight[i] = random.integer(0, 99) < kept ? static_cast<int8_t>(random.integer(-127, 127)) : int8_t{0};
  std::vector<float> scale(static_cast<size_t>(shape[0]), 0.004f);
  std::vector<int32_t> bias(static_cast<size_t>(shape[0]));
  for (int32_t& b : bias) b = random.integer(-900, 900);
  return {{"weight", Tensor::copy_of(DType::i8, shape, weight.data())},
          {"weight_scale", Tensor::copy_of(DType::f32, {shape[0]}, scale.data())},
          {"bias", Tensor::copy_of(DType::i32, {shape[0]}, bias.data())}};
}

// A small classifier with a second input and a second output, and metadata for uint8 images.
inline Graph classifier(float input_scale = 0.02f) {
  Graph graph;
  graph.metadata = {{"image.mean", "0.5,0.25,0.125"}, {"image.std", "0.25,0.5,1e0"}, {"source", "a test"}};
  const Dim batch = graph.add_size("batch", 0, INT64_MAX, 1);
  const Dim height = graph.add_size("height", 1, INT64_MAX, 9), width = graph.add_size("width", 1, INT64_MAX, 11);
  const int image = graph.add_input("image", DType::f32, {batch, 3, height, width}),
            extra = graph.add_input("extra", DType::f32, {batch, 5});
  const int x = graph.add_node("quantize", "qx", {image}, {}, {}, {Quantization{input_scale, 128}});
  const int e = graph.add_node("quantize", "qe", {extra}, {}, {}, {Quantization{input_scale, 100}});
  const int a =
      graph.add_node("conv2d", "first", {x}, {{"padding", Dims{1}}}, layer({24, 3, 3, 3}, 90, 1), {Quantization{0.05f, 0}});
  const int b = graph.add_node("conv2d", "sparse", {a}, {}, layer({24, 24, 1, 1}, 10, 2), {Quantization{0.05f, 3}});
  const int c = graph.add_node("add", "sum", {a, b}, {}, {}, {Quantization{0.06f, 2}});
  const int d = graph.add_node("adaptive_avg_pool2d", "pool", {c}, {{"size", Dims{1, 1}}}, {}, {Quantization{0.05f, 0}});
  const int f = graph.add_node("reshape", "flat", {d}, {{"shape", Dims{batch, 24}}}, {}, {Quantization{0.05f, 0}});
  const int s = graph.add_node("linear", "scores", {f}, {}, layer({10, 24}, 100, 3));
  const int t = graph.add_node("linear", "other", {e}, {}, layer({6, 5}, 100, 4));
  graph.add_output(s, "scores");
  graph.add_output(t, "second");
  return graph;
}

// Sentences: int64, int32 and bool come in and go out, a state counts what was seen, lengths are even.
inline Graph reader() {
  Graph graph;
  const Dim batch = graph.add_size("batch", 1, 8, 2), length = graph.add_size("length", 2, 64);
  const int ids = graph.add_input("ids", DType::i64, {batch, length}),
            mask = graph.add_input("mask", DType::boolean, {batch, length});
  const int kinds = graph.add_input("kinds", DType::i32, {batch, length});
  const std::vector<float> rows = {0.5f, -1.0f, 2.0f, 4.0f, 0.25f, 8.0f}, zeros(2);
  const int seen = graph.add_state("seen", Tensor::copy_of(DType::f32, {2}, zeros.data()));
  graph.add_guard({{{{mod(length, 2), Relation::equal, 0}}}, "Input 'ids': length must be even."});
  const auto function = [](const char* name) { return Attributes{{"function", std::string(name)}}; };
  const int table = graph.add_node("constant", "table", {}, {}, {{"value", Tensor::copy_of(DType::f32, {3, 2}, rows.data())}});
  const int none = graph.add_node("constant", "none", {}, {}, {{"value", Tensor::copy_of(DType::f32, {1}, zeros.data())}});
  const int taken = graph.add_node("take", "embedding", {table, ids}, {{"axis", Dims{0}}}, {});
  const int columns = graph.add_node("reshape", "columns", {mask}, {{"shape", Dims{batch, length, 1}}}, {});
  const int kept = graph.add_node("where", "kept", {columns, taken, none}, {}, {});
  const int sums = graph.add_node("reduce", "sums", {kept}, {{"function", std::string("sum")}, {"axes", Dims{1}}}, {});
  const int all = graph.add_node("reduce", "all", {sums}, {{"function", std::string("sum")}, {"axes", Dims{0}}}, {});
  graph.set_state(seen, graph.add_node("binary", "count", {seen, all}, function("add"), {}));
  graph.add_output(graph.add_node("binary", "answer", {sums, seen}, function("add"), {}), "sums");
  graph.add_output(graph.add_node("cast", "wide", {kinds}, {{"dtype", std::string("int64")}}, {}), "wide");
  graph.add_output(graph.add_node("binary", "same", {kinds, kinds}, function("eq"), {}), "same");
  graph.add_output(graph.add_node("size", "length", {}, {{"value", Dims{length}}}, {}), "length");
  return graph;
}

inline std::vector<uint8_t> bytes_of(const Graph& graph) {
  static std::atomic<int> counter{0};
  const auto path = std::filesystem::temp_directory_path() /
                    ("niwaki-capi-test-" + std::to_string(reinterpret_cast<uintptr_t>(&graph)) + "-" + std::to_string(counter++));
  write_file(graph, path.string());
  std::ifstream in(path, std::ios::binary);
  std::vector<uint8_t> bytes{std::istreambuf_iterator<char>(in), {}};
  in.close();
  std::filesystem::remove(path);
  return bytes;
}

inline const std::vector<uint8_t>& file() {
  static const std::vector<uint8_t> bytes = bytes_of(classifier());
  return bytes;
}

inline const std::vector<uint8_t>& reader_file() {
  static const std::vector<uint8_t> bytes = bytes_of(reader());
  return bytes;
}

inline std::vector<float> noise(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = random.real(-2.0f, 2.0f);
  return values;
}

inline niwaki_tensor tensor(void* data, size_t bytes, niwaki_shape shape, const char* name = nullptr) {
  return {name, NIWAKI_FLOAT32, NIWAKI_NCHW, shape, data, bytes};
}

// A call's worth of arrays: `images` of 9 x 11.
struct Arrays {
  explicit Arrays(int64_t images = 2, uint64_t seed = 7)
      : image(noise(static_cast<size_t>(images) * 297, seed)),
        extra(noise(static_cast<size_t>(images) * 5, seed + 1)),
        scores(static_cast<size_t>(images) * 10, -1.0f),
        second(static_cast<size_t>(images) * 6, -1.0f) {
    inputs[0] = tensor(image.data(), image.size() * 4, {4, {images, 3, 9, 11}});
    inputs[1] = tensor(extra.data(), extra.size() * 4, {2, {images, 5}});
    outputs[0] = tensor(scores.data(), scores.size() * 4, {});
    outputs[1] = tensor(second.data(), second.size() * 4, {});
  }
  niwaki_status run(niwaki_session* session) { return niwaki_run(session, inputs, 2, outputs, 2); }
  bool same(const Arrays& other) const { return scores == other.scores && second == other.second; }

  std::vector<float> image, extra, scores, second;
  niwaki_tensor inputs[2], outputs[2];
};

// A call's worth of arrays for the reader: two sentences of four words.
struct Words {
  Words() {
    inputs[0] = {"ids", NIWAKI_INT64, NIWAKI_NCHW, {2, {2, 4}}, ids.data(), sizeof ids};
    inputs[1] = {"mask", NIWAKI_BOOL, NIWAKI_NCHW, {2, {2, 4}}, mask.data(), sizeof mask};
    inputs[2] = {"kinds", NIWAKI_INT32, NIWAKI_NCHW, {2, {2, 4}}, kinds.data(), sizeof kinds};
    outputs[0] = {"sums", NIWAKI_FLOAT32, NIWAKI_NCHW, {}, sums.data(), sizeof sums};
    outputs[1] = {"wide", NIWAKI_INT64, NIWAKI_NCHW, {}, wide.data(), sizeof wide};
    outputs[2] = {"same", NIWAKI_BOOL, NIWAKI_NCHW, {}, same.data(), sizeof same};
    outputs[3] = {"length", NIWAKI_INT64, NIWAKI_NCHW, {-1, {}}, &length, sizeof length};
  }
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;
  niwaki_status run(niwaki_session* session) { return niwaki_run(session, inputs, 3, outputs, 4); }

  std::array<int64_t, 8> ids = {0, 1, 2, 0, 1, 1, 2, 2};
  std::array<uint8_t, 8> mask = {1, 1, 1, 0, 1, 0, 0, 1};
  std::array<int32_t, 8> kinds = {0, 1, -1, 7, INT32_MIN, INT32_MAX, 3, 3};
  std::array<float, 4> sums = {-1, -1, -1, -1};  // at first {2.75, 11, 2.25, 12}
  std::array<int64_t, 8> wide = {};
  std::array<uint8_t, 8> same = {};
  int64_t length = -1;
  niwaki_tensor inputs[3], outputs[4];
};

// The same by the core alone.
inline Arrays expected(int64_t images = 2, uint64_t seed = 7) {
  Arrays arrays(images, seed);
  Session session(std::make_shared<Model>(classifier(), current_isa()), 1);
  const std::vector<Session::Input> inputs = {{arrays.image.data(), {images, 3, 9, 11}}, {arrays.extra.data(), {images, 5}}};
  void* const outputs[] = {arrays.scores.data(), arrays.second.data()};
  session.run(inputs, outputs);
  return arrays;
}

struct Opened {
  explicit Opened(niwaki_options options = {}, const std::vector<uint8_t>& bytes = file()) {
    REQUIRE(niwaki_model_open_memory(bytes.data(), bytes.size(), &options, &model) == NIWAKI_OK);
    REQUIRE(niwaki_session_create(model, &options, &session) == NIWAKI_OK);
  }
  ~Opened() {
    niwaki_session_close(session);
    niwaki_model_close(model);
  }
  niwaki_model* model = nullptr;
  niwaki_session* session = nullptr;
};

inline void expect_error(niwaki_status status, niwaki_status wanted, const char* part, int line) {
  const std::string said = niwaki_last_error();
  if (status != wanted || said.find(part) == std::string::npos)
    testing::fail(__FILE__, line, std::to_string(status) + " '" + said + "' lacks '" + part + "'");
  if (said.empty() || said.back() != '.') testing::fail(__FILE__, line, "no sentence: '" + said + "'");
}

// Counts what is open, and fails where it is told to.
struct Meter {
  std::atomic<int> calls{0}, open{0}, fail_at{-1};
  std::atomic<size_t> bytes{0};

  niwaki_options options(int threads = 0) {
    niwaki_options options{};
    options.threads = threads;
    options.user = this;
    options.allocate = [](void* user, size_t bytes, size_t alignment) -> void* {
      auto* meter = static_cast<Meter*>(user);
      if (meter->calls++ == meter->fail_at) return nullptr;
      ++meter->open;
      meter->bytes += bytes;
      return std::aligned_alloc(alignment, bytes);
    };
    options.release = [](void* user, void* memory, size_t bytes) {
      auto* meter = static_cast<Meter*>(user);
      --meter->open;
      meter->bytes -= bytes;
      std::free(memory);
    };
    return options;
  }
};

}  // namespace niwaki::capi_testing

#define REFUSED(call, part) ::niwaki::capi_testing::expect_error((call), NIWAKI_INVALID_ARGUMENT, part, __LINE__)
