// The C API as a C program sees it: answers, bad arguments, allocation that fails, threads, fork.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <thread>

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "file/file.h"
#include "graph/graph.h"
#include "niwaki/niwaki.h"
#include "runtime/session.h"
#include "testing/test.h"

namespace niwaki {
namespace {

using testing::Random;

Tensors layer(std::vector<int64_t> shape, int kept, uint64_t seed) {
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

// A small classifier with a second input and a second output. `channels` of the image; metadata for uint8 images.
Graph classifier() {
  Graph graph;
  graph.metadata = {{"image.mean", "0.5,0.25,0.125"}, {"image.std", "0.25,0.5,1e0"}, {"source", "a test"}};
  const int image = graph.add_input("image", 3, 4, 9, 11), extra = graph.add_input("extra", 5, 2);
  const int x = graph.add_node("quantize", "qx", {image}, {}, {}, Quantization{0.02f, 128});
  const int e = graph.add_node("quantize", "qe", {extra}, {}, {}, Quantization{0.02f, 100});
  const int a = graph.add_node("conv2d", "first", {x}, {{"padding", {1}}}, layer({24, 3, 3, 3}, 90, 1), Quantization{0.05f, 0});
  const int b = graph.add_node("conv2d", "sparse", {a}, {}, layer({24, 24, 1, 1}, 10, 2), Quantization{0.05f, 3});
  const int c = graph.add_node("add", "sum", {a, b}, {}, {}, Quantization{0.06f, 2});
  const int d = graph.add_node("adaptive_avg_pool2d", "pool", {c}, {{"size", {1, 1}}}, {}, Quantization{0.05f, 0});
  const int f = graph.add_node("reshape", "flat", {d}, {{"shape", {24}}}, {}, Quantization{0.05f, 0});
  const int s = graph.add_node("linear", "scores", {f}, {}, layer({10, 24}, 100, 3), std::nullopt);
  const int t = graph.add_node("linear", "other", {e}, {}, layer({6, 5}, 100, 4), std::nullopt);
  graph.add_output(s, "scores");
  graph.add_output(t, "second");
  return graph;
}

std::vector<uint8_t> bytes_of(const Graph& graph) {
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

const std::vector<uint8_t>& file() {
  static const std::vector<uint8_t> bytes = bytes_of(classifier());
  return bytes;
}

std::vector<float> noise(size_t count, uint64_t seed) {
  Random random(seed);
  std::vector<float> values(count);
  for (float& value : values) value = random.real(-2.0f, 2.0f);
  return values;
}

niwaki_tensor tensor(void* data, size_t bytes, niwaki_shape shape, const char* name = nullptr) {
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
    inputs[1] = tensor(extra.data(), extra.size() * 4, {2, {images, 5, 0, 0}});
    outputs[0] = tensor(scores.data(), scores.size() * 4, {});
    outputs[1] = tensor(second.data(), second.size() * 4, {});
  }
  niwaki_status run(niwaki_session* session) { return niwaki_run(session, inputs, 2, outputs, 2); }
  bool same(const Arrays& other) const { return scores == other.scores && second == other.second; }

  std::vector<float> image, extra, scores, second;
  niwaki_tensor inputs[2], outputs[2];
};

// The same by the core alone.
Arrays expected(int64_t images = 2, uint64_t seed = 7) {
  Arrays arrays(images, seed);
  Session session(std::make_shared<Model>(classifier(), current_isa()), 1);
  const std::vector<Session::Input> inputs = {{arrays.image.data(), {images, 3, 9, 11}}, {arrays.extra.data(), {images, 5}}};
  float* const outputs[] = {arrays.scores.data(), arrays.second.data()};
  session.run(inputs, outputs);
  return arrays;
}

struct Opened {
  explicit Opened(niwaki_options options = {}) {
    REQUIRE(niwaki_model_open_memory(file().data(), file().size(), &options, &model) == NIWAKI_OK);
    REQUIRE(niwaki_session_create(model, &options, &session) == NIWAKI_OK);
  }
  ~Opened() {
    niwaki_session_close(session);
    niwaki_model_close(model);
  }
  niwaki_model* model = nullptr;
  niwaki_session* session = nullptr;
};

void expect_error(niwaki_status status, niwaki_status wanted, const char* part, int line) {
  if (status != wanted || std::strstr(niwaki_last_error(), part) == nullptr)
    testing::fail(__FILE__, line, std::to_string(status) + " '" + niwaki_last_error() + "' lacks '" + part + "'");
}
#define REFUSED(call, part) expect_error((call), NIWAKI_INVALID_ARGUMENT, part, __LINE__)

TEST(capi_answers_are_those_of_the_core) {
  for (int threads : {0, 1, 3}) {
    niwaki_options options{};
    options.threads = threads;
    Opened opened(options);
    for (int64_t images : {2, 1, 5}) {
      Arrays arrays(images);
      CHECK_EQ(arrays.run(opened.session), NIWAKI_OK);
      CHECK(arrays.same(expected(images)));
      CHECK_EQ(arrays.outputs[0].shape.rank, 2);
      CHECK_EQ(arrays.outputs[0].shape.sizes[0], images);
      CHECK_EQ(arrays.outputs[1].shape.sizes[1], 6);
    }
  }
}

TEST(capi_path_and_memory) {
  const auto path = (std::filesystem::temp_directory_path() / "niwaki-capi-path-test.niwaki").string();
  write_file(classifier(), path);
  niwaki_model* model = nullptr;
  REQUIRE(niwaki_model_open(path.c_str(), nullptr, &model) == NIWAKI_OK);
  niwaki_session* session = nullptr;
  REQUIRE(niwaki_session_create(model, nullptr, &session) == NIWAKI_OK);
  CHECK_EQ(niwaki_model_close(model), NIWAKI_OK);  // the session keeps what it needs
  Arrays arrays;
  CHECK_EQ(arrays.run(session), NIWAKI_OK);
  CHECK(arrays.same(expected()));
  CHECK_EQ(niwaki_session_close(session), NIWAKI_OK);
  std::filesystem::remove(path);
  expect_error(niwaki_model_open(path.c_str(), nullptr, &model), NIWAKI_INVALID_FILE, "there is no such file", __LINE__);
  expect_error(niwaki_model_open_memory(file().data(), file().size() - 1, nullptr, &model), NIWAKI_INVALID_FILE, "cut short",
               __LINE__);
  expect_error(niwaki_model_open_memory(file().data(), 0, nullptr, &model), NIWAKI_INVALID_FILE, "empty", __LINE__);
}

TEST(capi_describes_the_network) {
  Opened opened;
  size_t inputs = 0, outputs = 0, layers = 0, activations = 0;
  CHECK_EQ(niwaki_model_counts(opened.model, &inputs, &outputs), NIWAKI_OK);
  CHECK_EQ(inputs, size_t{2});
  CHECK_EQ(outputs, size_t{2});
  niwaki_port port;
  CHECK_EQ(niwaki_model_input(opened.model, 0, &port), NIWAKI_OK);
  CHECK(std::strcmp(port.name, "image") == 0 && port.shape.rank == 4 && port.shape.sizes[0] == -1 && port.shape.sizes[1] == 3);
  CHECK(port.shape.sizes[2] == -1 && port.expected.sizes[0] == 1 && port.expected.sizes[2] == 9 && port.expected.sizes[3] == 11);
  CHECK_EQ(niwaki_model_output(opened.model, 1, &port), NIWAKI_OK);
  CHECK(std::strcmp(port.name, "second") == 0 && port.shape.rank == 2 && port.shape.sizes[1] == 6);
  const niwaki_shape shapes[] = {{4, {7, 3, 20, 30}}, {2, {7, 5, 0, 0}}};
  niwaki_shape shape;
  CHECK_EQ(niwaki_model_output_shape(opened.model, shapes, 2, 0, &shape), NIWAKI_OK);
  CHECK(shape.rank == 2 && shape.sizes[0] == 7 && shape.sizes[1] == 10);
  const char* text = nullptr;
  CHECK_EQ(niwaki_model_metadata(opened.model, "source", &text), NIWAKI_OK);
  CHECK(std::strcmp(text, "a test") == 0);
  CHECK_EQ(niwaki_model_isa(opened.model, &text), NIWAKI_OK);
  CHECK(std::strcmp(text, isa_name(current_isa())) == 0);

  Arrays arrays;
  CHECK_EQ(arrays.run(opened.session), NIWAKI_OK);
  CHECK_EQ(niwaki_session_layer_count(opened.session, &layers), NIWAKI_OK);
  int64_t macs = 0;
  for (size_t i = 0; i < layers; ++i) {
    niwaki_layer layer;
    CHECK_EQ(niwaki_session_layer(opened.session, i, &layer), NIWAKI_OK);
    CHECK(std::strlen(layer.name) > 0 && std::strlen(layer.op) > 0 && layer.milliseconds >= 0.0);
    macs += layer.macs;
  }
  CHECK_EQ(macs, int64_t{2} * (99 * 24 * (27 + 24) + 240 + 30));
  CHECK_EQ(niwaki_session_activation_bytes(opened.session, &activations), NIWAKI_OK);
  CHECK(activations > 0);
  CHECK(std::strlen(niwaki_version()) >= 5);
  CHECK(std::strcmp(niwaki_status_name(NIWAKI_BUSY), "busy") == 0);
}

TEST(capi_images_in_bytes_and_in_either_order) {
  Opened opened;
  Random random(3);
  std::vector<uint8_t> nhwc(2 * 297), nchw(2 * 297);
  std::vector<float> floats(2 * 297), floats_nhwc(2 * 297);
  const float mean[] = {0.5f, 0.25f, 0.125f}, std[] = {0.25f, 0.5f, 1.0f};
  for (size_t n = 0; n < 2; ++n)
    for (size_t p = 0; p < 99; ++p)
      for (size_t c = 0; c < 3; ++c) {
        const auto pixel = static_cast<uint8_t>(random.integer(0, 255));
        const size_t last = (n * 99 + p) * 3 + c, first = (n * 3 + c) * 99 + p;
        nhwc[last] = nchw[first] = pixel;
        floats[first] = floats_nhwc[last] = (static_cast<float>(pixel) / 255.0f - mean[c]) / std[c];
      }
  Arrays wanted;
  wanted.inputs[0] = tensor(floats.data(), floats.size() * 4, {4, {2, 3, 9, 11}});
  REQUIRE(wanted.run(opened.session) == NIWAKI_OK);
  Arrays arrays;
  arrays.inputs[0] = {nullptr, NIWAKI_UINT8, NIWAKI_NHWC, {4, {2, 9, 11, 3}}, nhwc.data(), nhwc.size()};
  CHECK_EQ(arrays.run(opened.session), NIWAKI_OK);
  CHECK(arrays.same(wanted));
  arrays.inputs[0] = {nullptr, NIWAKI_UINT8, NIWAKI_NCHW, {4, {2, 3, 9, 11}}, nchw.data(), nchw.size()};
  CHECK_EQ(arrays.run(opened.session), NIWAKI_OK);
  CHECK(arrays.same(wanted));
  arrays.inputs[0] = {nullptr, NIWAKI_FLOAT32, NIWAKI_NHWC, {4, {2, 9, 11, 3}}, floats_nhwc.data(), floats_nhwc.size() * 4};
  CHECK_EQ(arrays.run(opened.session), NIWAKI_OK);
  CHECK(arrays.same(wanted));
  arrays.inputs[1].type = NIWAKI_UINT8;
  REFUSED(arrays.run(opened.session), "'extra': uint8 is for images");
}

TEST(capi_image_metadata_is_checked) {
  const auto open = [](std::map<std::string, std::string> metadata) {
    Graph graph = classifier();
    graph.metadata = std::move(metadata);
    const auto bytes = bytes_of(graph);
    niwaki_model* model = nullptr;
    const niwaki_status status = niwaki_model_open_memory(bytes.data(), bytes.size(), nullptr, &model);
    if (status != NIWAKI_OK) return status;
    niwaki_session* session = nullptr;
    niwaki_session_create(model, nullptr, &session);
    Arrays arrays;
    arrays.inputs[0].type = NIWAKI_UINT8;
    const niwaki_status ran = arrays.run(session);
    niwaki_session_close(session);
    niwaki_model_close(model);
    return ran;
  };
  REFUSED(open({}), "does not say what mean and std");
  REFUSED(open({{"image.mean", "0"}, {"image.std", "1"}}), "for 1 channels, the image has 3");
  CHECK_EQ(open({{"image.mean", "0,-1e-3,.5"}, {"image.std", "1,2.,0.5"}}), NIWAKI_OK);
  const auto bad = [&](const char* mean, const char* std, const char* part, int line) {
    expect_error(open({{"image.mean", mean}, {"image.std", std}}), NIWAKI_INVALID_FILE, part, line);
  };
  for (const char* text : {"", "0,,1", "x,1,2", "0,1,2,", "nan,0,0", "0,0,1e999", "1e,0,0", "-", ".", "0 ,0,0"})
    bad(text, "1,1,1", "'image.mean' is not a list of numbers", __LINE__);
  bad("0,0", "1,1,1", "different lengths", __LINE__);
  bad("0,0,0", "1,0,1", "not positive", __LINE__);
  expect_error(open({{"image.std", "1,1,1"}}), NIWAKI_INVALID_FILE, "only one of", __LINE__);
}

TEST(capi_names_decide_before_places) {
  Opened opened;
  Arrays arrays;
  arrays.inputs[0].name = "image", arrays.inputs[1].name = "extra";
  arrays.outputs[0].name = "scores", arrays.outputs[1].name = "second";
  std::swap(arrays.inputs[0], arrays.inputs[1]);
  std::swap(arrays.outputs[0], arrays.outputs[1]);
  CHECK_EQ(arrays.run(opened.session), NIWAKI_OK);
  CHECK(arrays.same(expected()));
  arrays.inputs[0].name = "imag";
  REFUSED(arrays.run(opened.session), "no input 'imag'");
  arrays.inputs[0].name = "image";
  REFUSED(arrays.run(opened.session), "'image' is given twice");
  arrays.inputs[0].name = "extra";
  arrays.outputs[1].name = "third";
  REFUSED(arrays.run(opened.session), "no output 'third'");
}

TEST(capi_bad_arguments) {
  Opened opened;
  niwaki_model* model = nullptr;
  niwaki_session* session = nullptr;
  niwaki_port port;
  niwaki_shape shape;
  niwaki_layer layer;
  const char* text;
  size_t count;
  const void* data = file().data();
  REFUSED(niwaki_model_open(nullptr, nullptr, &model), "path is NULL");
  REFUSED(niwaki_model_open("x", nullptr, nullptr), "model is NULL");
  REFUSED(niwaki_model_open_memory(nullptr, 3, nullptr, &model), "data is NULL");
  REFUSED(niwaki_model_open_memory(data, file().size(), nullptr, nullptr), "model is NULL");
  niwaki_options options{};
  options.threads = -1;
  REFUSED(niwaki_model_open_memory(data, file().size(), &options, &model), "threads must be from 0");
  REFUSED(niwaki_session_create(opened.model, &options, &session), "threads must be from 0");
  options = {};
  options.allocate = [](void*, size_t, size_t) -> void* { return nullptr; };
  REFUSED(niwaki_model_open_memory(data, file().size(), &options, &model), "allocate and release go together");
  REFUSED(niwaki_session_create(nullptr, nullptr, &session), "model is NULL");
  REFUSED(niwaki_session_create(opened.model, nullptr, nullptr), "session is NULL");
  REFUSED(niwaki_model_counts(nullptr, &count, &count), "model is NULL");
  REFUSED(niwaki_model_input(opened.model, 2, &port), "there is no 2; the model has 2");
  REFUSED(niwaki_model_output(opened.model, 9, &port), "there is no 9");
  REFUSED(niwaki_model_input(opened.model, 0, nullptr), "port is NULL");
  REFUSED(niwaki_model_output(nullptr, 0, &port), "model is NULL");
  REFUSED(niwaki_model_metadata(opened.model, "nothing", &text), "no 'nothing'");
  REFUSED(niwaki_model_metadata(opened.model, nullptr, &text), "key is NULL");
  REFUSED(niwaki_model_metadata(opened.model, "source", nullptr), "value is NULL");
  REFUSED(niwaki_model_isa(nullptr, &text), "model is NULL");
  const niwaki_shape one = {4, {1, 3, 9, 11}}, two[] = {one, {2, {1, 5, 0, 0}}}, five = {5, {1, 1, 1, 1}};
  REFUSED(niwaki_model_output_shape(opened.model, two, 1, 0, &shape), "input");
  REFUSED(niwaki_model_output_shape(opened.model, two, 2, 2, &shape), "there is no 2");
  REFUSED(niwaki_model_output_shape(opened.model, &five, 1, 0, &shape), "rank");
  REFUSED(niwaki_model_output_shape(opened.model, nullptr, 2, 0, &shape), "inputs is NULL");
  REFUSED(niwaki_session_layer_count(nullptr, &count), "session is NULL");
  REFUSED(niwaki_session_layer(opened.session, 999, &layer), "there is no layer 999");
  REFUSED(niwaki_session_layer(opened.session, 0, nullptr), "layer is NULL");
  REFUSED(niwaki_session_activation_bytes(opened.session, nullptr), "bytes is NULL");
  CHECK_EQ(niwaki_model_close(nullptr), NIWAKI_OK);
  CHECK_EQ(niwaki_session_close(nullptr), NIWAKI_OK);

  Arrays good;
  REFUSED(niwaki_run(nullptr, good.inputs, 2, good.outputs, 2), "session is NULL");
  REFUSED(niwaki_run(opened.session, nullptr, 2, good.outputs, 2), "input is NULL");
  REFUSED(niwaki_run(opened.session, good.inputs, 2, nullptr, 2), "output is NULL");
  REFUSED(niwaki_run(opened.session, good.inputs, 1, good.outputs, 2), "has 2 inputs, not 1");
  REFUSED(niwaki_run(opened.session, good.inputs, 2, good.outputs, 3), "has 2 outputs, not 3");
  const auto refused = [&](void (*spoil)(Arrays&), const char* part, int line) {
    Arrays arrays;
    spoil(arrays);
    expect_error(arrays.run(opened.session), NIWAKI_INVALID_ARGUMENT, part, line);
    Arrays again;  // everything still works
    CHECK_EQ(again.run(opened.session), NIWAKI_OK);
    CHECK(again.same(expected()));
  };
  refused([](Arrays& a) { a.inputs[0].data = nullptr; }, "Input 'image': its data is NULL", __LINE__);
  refused([](Arrays& a) { a.outputs[1].data = nullptr; }, "Output 'second': its data is NULL", __LINE__);
  refused([](Arrays& a) { a.inputs[0].bytes -= 1; }, "'image': its buffer has 2375 bytes; 2376", __LINE__);
  refused([](Arrays& a) { a.outputs[0].bytes -= 1; }, "'scores': its buffer has 79 bytes; 80", __LINE__);
  refused([](Arrays& a) { a.inputs[0].data = static_cast<char*>(a.inputs[0].data) + 1; }, "not aligned to 4 bytes", __LINE__);
  refused([](Arrays& a) { a.inputs[0].shape.sizes[1] = 4; }, "image", __LINE__);
  refused([](Arrays& a) { a.inputs[0].shape.sizes[2] = -9; }, "negative", __LINE__);
  refused([](Arrays& a) { a.inputs[0].shape.sizes[2] = INT64_MAX; }, "too large", __LINE__);
  refused([](Arrays& a) { a.inputs[0].shape.rank = 3; }, "image", __LINE__);
  refused([](Arrays& a) { a.inputs[0].shape.rank = -1; }, "rank", __LINE__);
  refused([](Arrays& a) { a.inputs[1].shape.sizes[0] = 3; }, "", __LINE__);
  refused([](Arrays& a) { a.inputs[0].type = static_cast<niwaki_type>(7); }, "its type is neither", __LINE__);
  refused([](Arrays& a) { a.inputs[0].layout = static_cast<niwaki_layout>(7); }, "its layout is neither", __LINE__);
  refused([](Arrays& a) { a.outputs[0].type = NIWAKI_UINT8; }, "outputs are NIWAKI_FLOAT32", __LINE__);
  refused([](Arrays& a) { a.outputs[0].shape = {2, {2, 11, 0, 0}}; }, "its shape is [2, 10] for these inputs, not [2, 11]",
          __LINE__);
}

TEST(capi_closed_handles_are_refused) {
  niwaki_model* model = nullptr;
  niwaki_session* session = nullptr;
  {
    Opened opened;
    model = opened.model, session = opened.session;
  }
  Arrays arrays;
  niwaki_port port;
  size_t count;
  REFUSED(arrays.run(session), "session is not open");
  REFUSED(niwaki_session_close(session), "session is not open");
  REFUSED(niwaki_session_layer_count(session, &count), "session is not open");
  REFUSED(niwaki_model_close(model), "model is not open");
  REFUSED(niwaki_model_input(model, 0, &port), "model is not open");
  REFUSED(niwaki_session_create(model, nullptr, &session), "model is not open");
  Opened opened;  // a model is no session
  REFUSED(niwaki_session_close(reinterpret_cast<niwaki_session*>(opened.model)), "session is not open");
  REFUSED(arrays.run(reinterpret_cast<niwaki_session*>(&arrays)), "session is not open");
  CHECK_EQ(arrays.run(opened.session), NIWAKI_OK);
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

// Opens, runs uint8 images twice in two sizes, closes; the first status that is not ok.
niwaki_status whole_life(const niwaki_options& options, Arrays& result) {
  niwaki_model* model = nullptr;
  niwaki_session* session = nullptr;
  niwaki_status status = niwaki_model_open_memory(file().data(), file().size(), &options, &model);
  if (status == NIWAKI_OK) status = niwaki_session_create(model, &options, &session);
  Arrays small(1);
  std::vector<uint8_t> pixels(297, 9);
  small.inputs[0] = {nullptr, NIWAKI_UINT8, NIWAKI_NHWC, {4, {1, 9, 11, 3}}, pixels.data(), pixels.size()};
  if (status == NIWAKI_OK) status = small.run(session);
  if (status == NIWAKI_OK) status = result.run(session);
  if (status == NIWAKI_OUT_OF_MEMORY && session != nullptr) {  // the next try succeeds on the same session
    CHECK_EQ(result.run(session), NIWAKI_OK);
    CHECK(result.same(expected()));
  }
  niwaki_session_close(session);
  niwaki_model_close(model);
  return status;
}

TEST(capi_allocator_serves_and_fails_anywhere) {
  for (int threads : {1, 2}) {
    Meter meter;
    Arrays arrays;
    CHECK_EQ(whole_life(meter.options(threads), arrays), NIWAKI_OK);
    CHECK(arrays.same(expected()));
    CHECK_EQ(meter.open.load(), 0);
    CHECK_EQ(meter.bytes.load(), size_t{0});
    const int calls = meter.calls;
    CHECK(calls > 10);  // the copy of the file, weights, constants, activations, images
    for (int n = 0; n < calls; ++n) {
      Meter failing;
      failing.fail_at = n;
      Arrays other;
      const niwaki_status status = whole_life(failing.options(threads), other);
      if (status != NIWAKI_OUT_OF_MEMORY)
        testing::fail(__FILE__, __LINE__, "allocation " + std::to_string(n) + " of " + std::to_string(calls));
      CHECK_EQ(failing.open.load(), 0);
      CHECK_EQ(failing.bytes.load(), size_t{0});
    }
  }
}

TEST(capi_misaligned_allocator_is_refused) {
  Meter meter;
  niwaki_options options = meter.options();
  options.allocate = [](void*, size_t bytes, size_t) -> void* {
    return static_cast<char*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64)) + 8;
  };
  options.release = [](void*, void* memory, size_t) { std::free(static_cast<char*>(memory) - 8); };
  niwaki_model* model = nullptr;
  REFUSED(niwaki_model_open_memory(file().data(), file().size(), &options, &model), "not aligned to 64 bytes");
}

TEST(capi_sessions_side_by_side) {
  const char* given = std::getenv("NIWAKI_TEST_RUNS");  // of each session; 10000 for a long test
  const int runs = given != nullptr ? std::atoi(given) : 100;
  Opened opened;
  const Arrays wanted = expected();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      niwaki_options options{};
      options.threads = t % 2 + 1;
      niwaki_session* session = nullptr;
      if (niwaki_session_create(opened.model, &options, &session) != NIWAKI_OK) ++wrong;
      for (int i = 0; i < runs; ++i) {
        Arrays arrays;
        if (arrays.run(session) != NIWAKI_OK || !arrays.same(wanted)) ++wrong;
        if (i % 50 != 49) continue;  // a session goes, another comes
        niwaki_session_close(session);
        if (niwaki_session_create(opened.model, &options, &session) != NIWAKI_OK) ++wrong;
      }
      niwaki_session_close(session);
    });
  // Meanwhile another model comes and goes.
  for (int i = 0; i < 5; ++i) Opened other;
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST(capi_a_session_is_one_threads) {
  Opened opened;
  const Arrays wanted = expected();
  std::atomic<int> ran{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        Arrays arrays;
        const niwaki_status status = arrays.run(opened.session);
        if (status == NIWAKI_OK ? !arrays.same(wanted) : status != NIWAKI_BUSY) ++wrong;
        ran += status == NIWAKI_OK;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(ran > 0);
  CHECK_EQ(wrong.load(), 0);
}

TEST(capi_errors_are_each_threads_own) {
  REFUSED(niwaki_model_open(nullptr, nullptr, nullptr), "path is NULL");
  std::string other = "?";
  std::thread([&] { other = niwaki_last_error(); }).join();
  CHECK_EQ(other, std::string());
  CHECK(std::strstr(niwaki_last_error(), "path is NULL") != nullptr);
  const std::string path(5000, 'x');  // longer than a sentence is kept
  niwaki_model* model = nullptr;
  CHECK_EQ(niwaki_model_open(path.c_str(), nullptr, &model), NIWAKI_INVALID_FILE);
  CHECK_EQ(std::strlen(niwaki_last_error()), size_t{1023});
}

#if defined(__unix__) && !defined(__SANITIZE_THREAD__)
TEST(capi_fork_after_load) {
  niwaki_options options{};
  options.threads = 2;
  Opened opened(options);
  const Arrays wanted = expected();
  Arrays before;
  CHECK_EQ(before.run(opened.session), NIWAKI_OK);
  const pid_t child = fork();
  if (child == 0) {
    Arrays arrays, fresh;
    niwaki_session* session = nullptr;
    const bool good = arrays.run(opened.session) == NIWAKI_OK && arrays.same(wanted) &&
                      niwaki_session_create(opened.model, &options, &session) == NIWAKI_OK && fresh.run(session) == NIWAKI_OK &&
                      fresh.same(wanted) && niwaki_session_close(session) == NIWAKI_OK &&
                      niwaki_session_close(opened.session) == NIWAKI_OK && niwaki_model_close(opened.model) == NIWAKI_OK;
    _exit(good ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  Arrays after;
  CHECK_EQ(after.run(opened.session), NIWAKI_OK);
  CHECK(after.same(wanted));
}
#endif

}  // namespace
}  // namespace niwaki
