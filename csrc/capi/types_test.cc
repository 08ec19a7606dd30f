// Arrays of all types through the C API; free sizes, guards, states.
#include <climits>
#include <thread>

#include "capi/test_tools.h"

namespace niwaki {
namespace {

using namespace capi_testing;

TEST(capi_types_come_in_and_go_out) {
  Opened opened({}, reader_file());
  Words words;
  CHECK_EQ(words.run(opened.session), NIWAKI_OK);
  CHECK(words.sums == (std::array<float, 4>{2.75f, 11.0f, 2.25f, 12.0f}));
  for (size_t i = 0; i < 8; ++i) CHECK(words.wide[i] == words.kinds[i] && words.same[i] == 1);
  CHECK_EQ(words.length, int64_t{4});
  CHECK(words.outputs[1].shape.rank == 2 && words.outputs[1].shape.sizes[1] == 4 && words.outputs[3].shape.rank == 0);
}

TEST(capi_describes_types_and_sizes) {
  Opened opened({}, reader_file());
  size_t count = 0;
  CHECK_EQ(niwaki_model_size_count(opened.model, &count), NIWAKI_OK);
  CHECK_EQ(count, size_t{2});
  niwaki_size size;
  CHECK_EQ(niwaki_model_size(opened.model, 0, &size), NIWAKI_OK);
  CHECK(std::strcmp(size.name, "batch") == 0 && size.low == 1 && size.high == 8 && size.expected == 2);
  CHECK_EQ(niwaki_model_size(opened.model, 1, &size), NIWAKI_OK);
  CHECK(std::strcmp(size.name, "length") == 0 && size.low == 2 && size.high == 64 && size.expected == 0);
  niwaki_port port;
  const niwaki_type types[] = {NIWAKI_INT64, NIWAKI_BOOL, NIWAKI_INT32};
  for (size_t i = 0; i < 3; ++i) {
    CHECK_EQ(niwaki_model_input(opened.model, i, &port), NIWAKI_OK);
    CHECK(port.type == types[i] && port.shape.rank == 2 && port.shape.sizes[1] == -1);
    CHECK(port.expected.sizes[0] == 2 && port.expected.sizes[1] == -1);
    CHECK(std::strcmp(port.dims[1].name, "length") == 0 && port.dims[1].low == 2 && port.dims[1].high == 64);
  }
  CHECK_EQ(niwaki_model_output(opened.model, 0, &port), NIWAKI_OK);
  CHECK(port.type == NIWAKI_FLOAT32 && std::strcmp(port.dims[0].name, "batch") == 0 && port.shape.sizes[1] == 2);
  CHECK(port.dims[1].name == nullptr && port.dims[1].low == 2 && port.dims[1].high == 2);
  CHECK_EQ(niwaki_model_output(opened.model, 3, &port), NIWAKI_OK);
  CHECK(port.type == NIWAKI_INT64 && port.shape.rank == 0);
  CHECK(std::strcmp(niwaki_type_name(NIWAKI_BOOL), "bool") == 0);
}

TEST(capi_wrong_types_and_sizes_are_refused) {
  Opened opened({}, reader_file());
  const auto refused = [&](void (*spoil)(Words&), const char* part, int line) {
    Words words;
    spoil(words);
    expect_error(words.run(opened.session), NIWAKI_INVALID_ARGUMENT, part, line);
    CHECK_EQ(niwaki_session_reset(opened.session), NIWAKI_OK);
    Words again;
    CHECK_EQ(again.run(opened.session), NIWAKI_OK);
    CHECK_EQ(again.sums[1], 11.0f);
  };
  refused([](Words& w) { w.inputs[0].type = NIWAKI_FLOAT32; }, "Input 'ids': int64 is expected, not float32", __LINE__);
  refused([](Words& w) { w.inputs[0].type = NIWAKI_INT32; }, "Input 'ids': int64 is expected, not int32", __LINE__);
  refused([](Words& w) { w.inputs[1].type = NIWAKI_UINT8; }, "Input 'mask': bool is expected, not uint8", __LINE__);
  refused([](Words& w) { w.outputs[1].type = NIWAKI_FLOAT32; }, "Output 'wide': int64 is expected, not float32", __LINE__);
  refused([](Words& w) { w.mask[6] = 2; }, "Input 'mask': a bool is 0 or 1; element 6 is 2", __LINE__);
  refused([](Words& w) { w.inputs[0].data = reinterpret_cast<char*>(w.ids.data()) + 4; }, "not aligned to 8 bytes, as int64",
          __LINE__);
  refused([](Words& w) { w.inputs[0].bytes -= 1; }, "Input 'ids': its buffer has 63 bytes; 64 are needed", __LINE__);
  refused([](Words& w) { w.inputs[0].name = "words"; }, "no input 'words'; its first is 'ids'", __LINE__);
  refused([](Words& w) { w.ids[5] = 3; }, "embedding", __LINE__);  // beyond the table
  refused([](Words& w) { w.ids[7] = -1; }, "embedding", __LINE__);
  refused([](Words& w) { w.ids[0] = INT64_MIN; }, "embedding", __LINE__);
  const auto resized = [&](niwaki_shape shape, const char* part, int line) {
    Words words;
    for (niwaki_tensor& input : words.inputs) input.shape = shape;
    expect_error(words.run(opened.session), NIWAKI_INVALID_ARGUMENT, part, line);
  };
  resized({2, {2, 3}}, "Input 'ids': length must be even", __LINE__);
  resized({2, {9, 4}}, "batch", __LINE__);
  resized({2, {0, 4}}, "batch", __LINE__);
  resized({2, {2, 66}}, "length", __LINE__);
  resized({3, {2, 2, 2}}, "ids", __LINE__);
  resized({0, {}}, "ids", __LINE__);
  resized({2, {INT64_MAX, 4}}, "too large", __LINE__);
  resized({2, {2, -4}}, "negative", __LINE__);
  resized({9, {1, 1, 1, 1, 1, 1, 1, 1}}, "from 0 to 8, not 9", __LINE__);
  refused([](Words& w) { w.inputs[1].shape = {2, {1, 8}}; }, "mask", __LINE__);  // inputs of unlike batches
}

TEST(capi_states) {
  Opened opened({}, reader_file());
  size_t count = 0;
  CHECK_EQ(niwaki_model_state_count(opened.model, &count), NIWAKI_OK);
  CHECK_EQ(count, size_t{1});
  niwaki_state state;
  CHECK_EQ(niwaki_model_state(opened.model, 0, &state), NIWAKI_OK);
  CHECK(std::strcmp(state.name, "seen") == 0 && state.type == NIWAKI_FLOAT32 && state.shape.rank == 1 &&
        state.shape.sizes[0] == 2);

  std::array<float, 2> seen = {-1, -1};
  niwaki_tensor tensor = {nullptr, NIWAKI_FLOAT32, NIWAKI_NCHW, {-1, {}}, seen.data(), sizeof seen};
  const auto get = [&] { return niwaki_session_get_state(opened.session, "seen", &tensor); };
  CHECK_EQ(get(), NIWAKI_OK);
  CHECK(seen == (std::array<float, 2>{0, 0}) && tensor.shape.rank == 1 && tensor.shape.sizes[0] == 2);
  Words first, second, third;
  CHECK_EQ(first.run(opened.session), NIWAKI_OK);
  CHECK_EQ(get(), NIWAKI_OK);
  CHECK(seen == (std::array<float, 2>{5, 23}));
  CHECK_EQ(second.run(opened.session), NIWAKI_OK);
  CHECK(second.sums == (std::array<float, 4>{7.75f, 34.0f, 7.25f, 35.0f}));
  // A run that fails leaves it as it was.
  third.ids[0] = 99;
  REFUSED(third.run(opened.session), "embedding");
  CHECK_EQ(get(), NIWAKI_OK);
  CHECK(seen == (std::array<float, 2>{10, 46}));
  seen = {1, 2};
  CHECK_EQ(niwaki_session_set_state(opened.session, "seen", &tensor), NIWAKI_OK);
  seen = {0, 0};
  CHECK_EQ(get(), NIWAKI_OK);
  CHECK(seen == (std::array<float, 2>{1, 2}));
  // Each session has its own.
  niwaki_session* other = nullptr;
  CHECK_EQ(niwaki_session_create(opened.model, nullptr, &other), NIWAKI_OK);
  CHECK_EQ(niwaki_session_get_state(other, "seen", &tensor), NIWAKI_OK);
  CHECK(seen == (std::array<float, 2>{0, 0}));
  CHECK_EQ(niwaki_session_close(other), NIWAKI_OK);
  CHECK_EQ(niwaki_session_reset(opened.session), NIWAKI_OK);
  CHECK_EQ(first.run(opened.session), NIWAKI_OK);
  CHECK_EQ(first.sums[0], 2.75f);
}

// Pictures as bytes, a class for each pixel as a byte, numbers of eight bits with a sign, a state of bytes.
Graph painter() {
  Graph graph;
  const Dim batch = graph.add_size("batch"), height = graph.add_size("height"), width = graph.add_size("width");
  const int x = graph.add_input("picture", DType::byte, {batch, 3, height, width}), y = graph.add_input("offset", DType::i8, {3});
  const uint8_t start[] = {7, 200};
  const int seen = graph.add_state("seen", Tensor::copy_of(DType::u8, {2}, start));
  const auto cast = [&](const char* name, int value, const char* to) {
    return graph.add_node("cast", name, {value}, {{"dtype", std::string(to)}}, {});
  };
  const auto add = [&](const char* name, int a, int b) {
    return graph.add_node("binary", name, {a, b}, {{"function", std::string("add")}}, {});
  };
  const int offsets = graph.add_node("reshape", "column", {cast("wide", y, "float32")}, {{"shape", Dims{3, 1, 1}}}, {});
  const int scores = add("scores", cast("floats", x, "float32"), offsets);
  const int where = graph.add_node("arg_reduce", "where", {scores}, {{"function", std::string("argmax")}, {"axis", Dims{1}}}, {});
  graph.add_output(cast("classes", where, "byte"), "classes");
  graph.add_output(cast("negative", scores, "int8"), "negative");
  const int more = add(
      "more", cast("ints", seen, "int32"),
      cast("offsets",
           graph.add_node("slice", "two", {y}, {{"axis", Dims{0}}, {"start", Dims{0}}, {"end", Dims{2}}, {"step", Dims{1}}}, {}),
           "int32"));
  graph.set_state(seen, cast("seen", more, "byte"));
  return graph;
}

TEST(capi_bytes_come_in_and_go_out) {
  const std::vector<uint8_t> file = bytes_of(painter());
  Opened opened({}, file);
  niwaki_port port;
  CHECK_EQ(niwaki_model_input(opened.model, 0, &port), NIWAKI_OK);
  CHECK_EQ(port.type, NIWAKI_UINT8);
  CHECK_EQ(niwaki_model_input(opened.model, 1, &port), NIWAKI_OK);
  CHECK_EQ(port.type, NIWAKI_INT8);
  CHECK_EQ(niwaki_model_output(opened.model, 0, &port), NIWAKI_OK);
  CHECK(port.type == NIWAKI_UINT8 && port.shape.rank == 3);
  CHECK(std::strcmp(niwaki_type_name(NIWAKI_INT8), "int8") == 0);

  std::array<uint8_t, 18> planes, pixels;  // [1, 3, 2, 3] and [1, 2, 3, 3]
  for (size_t i = 0; i < 18; ++i) planes[i] = static_cast<uint8_t>(i * 67), pixels[i % 6 * 3 + i / 6] = planes[i];
  std::array<int8_t, 3> offset = {-128, 127, -1};
  std::array<uint8_t, 6> classes = {}, wanted = {};
  std::array<int8_t, 18> negative = {}, sums = {};
  for (size_t i = 0; i < 6; ++i) {
    int best = INT_MIN;
    for (size_t c = 0; c < 3; ++c) {
      const int score = planes[c * 6 + i] + offset[c];
      sums[c * 6 + i] = static_cast<int8_t>(static_cast<uint8_t>(score));
      if (score > best) best = score, wanted[i] = static_cast<uint8_t>(c);
    }
  }
  niwaki_tensor inputs[] = {{nullptr, NIWAKI_UINT8, NIWAKI_NCHW, {4, {1, 3, 2, 3}}, planes.data(), 18},
                            {nullptr, NIWAKI_INT8, NIWAKI_NCHW, {1, {3}}, offset.data(), 3}};
  niwaki_tensor outputs[] = {{nullptr, NIWAKI_UINT8, NIWAKI_NCHW, {}, classes.data(), 6},
                             {nullptr, NIWAKI_INT8, NIWAKI_NCHW, {}, negative.data(), 18}};
  const auto run = [&] { return niwaki_run(opened.session, inputs, 2, outputs, 2); };
  CHECK_EQ(run(), NIWAKI_OK);
  CHECK(classes == wanted && negative == sums);
  // As a camera has them: nothing is normalized, the file says nothing of pixels.
  inputs[0].layout = NIWAKI_NHWC, inputs[0].shape = {4, {1, 2, 3, 3}}, inputs[0].data = pixels.data();
  classes = {}, negative = {};
  CHECK_EQ(run(), NIWAKI_OK);
  CHECK(classes == wanted && negative == sums);
  // 7 - 128 - 128 and 200 + 127 + 127, of which the last eight bits stay.
  std::array<uint8_t, 2> seen = {};
  niwaki_tensor state = {nullptr, NIWAKI_UINT8, NIWAKI_NCHW, {-1, {}}, seen.data(), 2};
  CHECK_EQ(niwaki_session_get_state(opened.session, "seen", &state), NIWAKI_OK);
  CHECK(seen == (std::array<uint8_t, 2>{7, 198}));
  state.type = NIWAKI_INT8;
  REFUSED(niwaki_session_set_state(opened.session, "seen", &state), "State 'seen': uint8 is expected, not int8");

  const auto refused = [&](auto change, const char* part) {
    niwaki_tensor in[] = {inputs[0], inputs[1]}, out[] = {outputs[0], outputs[1]};
    change(in, out);
    REFUSED(niwaki_run(opened.session, in, 2, out, 2), part);
  };
  refused([](niwaki_tensor* in, niwaki_tensor*) { in[0].type = NIWAKI_INT8; }, "Input 'picture': uint8 is expected, not int8");
  refused([](niwaki_tensor* in, niwaki_tensor*) { in[0].type = NIWAKI_FLOAT32; }, "'picture': uint8 is expected, not float32");
  refused([](niwaki_tensor* in, niwaki_tensor*) { in[1].type = NIWAKI_UINT8; }, "Input 'offset': int8 is expected, not uint8");
  refused([](niwaki_tensor* in, niwaki_tensor*) { in[0].bytes = 17; }, "its buffer has 17 bytes; 18 are needed");
  refused([](niwaki_tensor*, niwaki_tensor* out) { out[0].type = NIWAKI_INT64; }, "'classes': uint8 is expected, not int64");
  refused([](niwaki_tensor*, niwaki_tensor* out) { out[1].type = NIWAKI_UINT8; }, "'negative': int8 is expected, not uint8");
}

TEST(capi_states_of_a_wrong_shape_are_refused) {
  Opened opened({}, reader_file());
  std::array<float, 8> memory{};
  const niwaki_tensor good = {nullptr, NIWAKI_FLOAT32, NIWAKI_NCHW, {1, {2}}, memory.data(), sizeof memory};
  const auto both = [&](const char* name, niwaki_tensor tensor, const char* part, int line) {
    expect_error(niwaki_session_set_state(opened.session, name, &tensor), NIWAKI_INVALID_ARGUMENT, part, line);
    expect_error(niwaki_session_get_state(opened.session, name, &tensor), NIWAKI_INVALID_ARGUMENT, part, line);
  };
  const auto with = [&](auto change) {
    niwaki_tensor tensor = good;
    change(tensor);
    return tensor;
  };
  both("sen", good, "the network has no state 'sen'; its first is 'seen'", __LINE__);
  both("seen", with([](niwaki_tensor& t) { t.shape = {1, {3}}; }), "State 'seen': its shape is [2], not [3]", __LINE__);
  both("seen", with([](niwaki_tensor& t) { t.shape = {2, {1, 2}}; }), "its shape is [2], not [1, 2]", __LINE__);
  both("seen", with([](niwaki_tensor& t) { t.type = NIWAKI_INT32; }), "State 'seen': float32 is expected, not int32", __LINE__);
  both("seen", with([](niwaki_tensor& t) { t.bytes = 7; }), "its buffer has 7 bytes; 8 are needed", __LINE__);
  both("seen", with([](niwaki_tensor& t) { t.data = nullptr; }), "its data is NULL", __LINE__);
  both("seen", with([](niwaki_tensor& t) { t.layout = NIWAKI_NHWC; }), "the layout of states", __LINE__);
}

// What a session tells of its last run, and its states, may be asked for while it runs: the answer is then NIWAKI_BUSY, never a race.
TEST(capi_a_running_session_may_be_asked) {
  Opened opened({}, reader_file());
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0};
  std::thread asks([&] {
    while (!stop) {
      niwaki_layer layer;
      size_t bytes;
      std::array<float, 2> seen;
      niwaki_tensor tensor = {nullptr, NIWAKI_FLOAT32, NIWAKI_NCHW, {-1, {}}, seen.data(), sizeof seen};
      for (const niwaki_status status :
           {niwaki_session_layer(opened.session, 0, &layer), niwaki_session_activation_bytes(opened.session, &bytes),
            niwaki_session_get_state(opened.session, "seen", &tensor)})
        wrong += status != NIWAKI_OK && status != NIWAKI_BUSY;
    }
  });
  for (int i = 0; i < 300; ++i) {
    Words words;
    const niwaki_status status = words.run(opened.session);
    wrong += status != NIWAKI_OK && status != NIWAKI_BUSY;
  }
  stop = true;
  asks.join();
  CHECK_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace niwaki
