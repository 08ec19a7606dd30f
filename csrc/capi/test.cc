// The C API as a C program sees it: answers, descriptions, images.
#include <algorithm>
#include <map>

#include "capi/test_tools.h"

namespace niwaki {
namespace {

using namespace capi_testing;

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
  const niwaki_shape shapes[] = {{4, {7, 3, 20, 30}}, {2, {7, 5}}};
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

}  // namespace
}  // namespace niwaki
