// The C API as a careless C program sees it: every bad argument gets a status and a sentence, and harms nothing.
#include <thread>

#include "capi/test_tools.h"

namespace niwaki {
namespace {

using namespace capi_testing;

TEST(capi_bad_arguments) {
  Opened opened;
  niwaki_model* model = nullptr;
  niwaki_session* session = nullptr;
  niwaki_port port;
  niwaki_shape shape;
  niwaki_layer layer;
  niwaki_size size;
  niwaki_state state;
  niwaki_tensor tensor{};
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
  REFUSED(niwaki_model_input(opened.model, 2, &port), "there is no input 2; the network has 2");
  REFUSED(niwaki_model_output(opened.model, 9, &port), "there is no output 9");
  REFUSED(niwaki_model_input(opened.model, 0, nullptr), "port is NULL");
  REFUSED(niwaki_model_output(nullptr, 0, &port), "model is NULL");
  REFUSED(niwaki_model_metadata(opened.model, "nothing", &text), "no 'nothing'");
  REFUSED(niwaki_model_metadata(opened.model, nullptr, &text), "key is NULL");
  REFUSED(niwaki_model_metadata(opened.model, "source", nullptr), "value is NULL");
  REFUSED(niwaki_model_isa(nullptr, &text), "model is NULL");
  const niwaki_shape one = {4, {1, 3, 9, 11}}, two[] = {one, {2, {1, 5}}}, nine[] = {one, {9, {1, 1, 1, 1}}};
  REFUSED(niwaki_model_output_shape(opened.model, two, 1, 0, &shape), "has 2 inputs, not 1");
  REFUSED(niwaki_model_output_shape(opened.model, two, SIZE_MAX, 0, &shape), "has 2 inputs, not 18446744073709551615");
  REFUSED(niwaki_model_output_shape(opened.model, two, 2, 2, &shape), "there is no output 2");
  REFUSED(niwaki_model_output_shape(opened.model, nine, 2, 0, &shape),
          "'extra': the rank of its shape must be from 0 to 8, not 9");
  REFUSED(niwaki_model_output_shape(opened.model, nullptr, 2, 0, &shape), "inputs is NULL");
  REFUSED(niwaki_model_size_count(opened.model, nullptr), "count is NULL");
  REFUSED(niwaki_model_size(opened.model, 3, &size), "there is no free size 3; the network has 3");
  REFUSED(niwaki_model_size(opened.model, 0, nullptr), "size is NULL");
  REFUSED(niwaki_model_state_count(opened.model, nullptr), "count is NULL");
  REFUSED(niwaki_model_state(opened.model, 0, &state), "there is no state 0; the network has 0");
  REFUSED(niwaki_model_state(opened.model, 0, nullptr), "state is NULL");
  REFUSED(niwaki_session_get_state(opened.session, "h", nullptr), "tensor is NULL");
  REFUSED(niwaki_session_set_state(opened.session, "h", nullptr), "tensor is NULL");
  REFUSED(niwaki_session_get_state(opened.session, nullptr, &tensor), "name is NULL");
  REFUSED(niwaki_session_set_state(opened.session, "h", &tensor), "no state 'h'; it has none");
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
  refused([](Arrays& a) { a.inputs[0].type = NIWAKI_INT64; }, "Input 'image': float32 is expected, not int64", __LINE__);
  refused([](Arrays& a) { a.outputs[0].layout = NIWAKI_NHWC; }, "the layout of outputs", __LINE__);
  refused([](Arrays& a) { a.inputs[1].shape.sizes[0] = 3; }, "", __LINE__);
  refused([](Arrays& a) { a.inputs[0].type = static_cast<niwaki_type>(7); }, "its type is no niwaki_type", __LINE__);
  refused([](Arrays& a) { a.inputs[0].layout = static_cast<niwaki_layout>(7); }, "its layout is neither", __LINE__);
  refused([](Arrays& a) { a.outputs[0].type = NIWAKI_UINT8; }, "'scores': float32 is expected, not uint8", __LINE__);
  refused([](Arrays& a) { a.outputs[0].shape = {2, {2, 11}}; }, "its shape is [2, 10] for these inputs, not [2, 11]", __LINE__);
}

// Every call that takes a handle, with all else right.
struct Call {
  const char* name;
  const char* handle;  // what its messages call it
  niwaki_status (*call)(void* handle);
};

niwaki_model* as_model(void* handle) { return static_cast<niwaki_model*>(handle); }
niwaki_session* as_session(void* handle) { return static_cast<niwaki_session*>(handle); }

const Call kCalls[] = {
    {"niwaki_model_close", "model", [](void* h) { return niwaki_model_close(as_model(h)); }},
    {"niwaki_model_entry_count", "model",
     [](void* h) {
       size_t count;
       return niwaki_model_entry_count(as_model(h), &count);
     }},
    {"niwaki_model_entry_name", "model",
     [](void* h) {
       const char* name;
       return niwaki_model_entry_name(as_model(h), 0, &name);
     }},
    {"niwaki_model_entry", "model",
     [](void* h) {
       niwaki_model* entry;
       return niwaki_model_entry(as_model(h), "", &entry);
     }},
    {"niwaki_model_counts", "model",
     [](void* h) {
       size_t inputs, outputs;
       return niwaki_model_counts(as_model(h), &inputs, &outputs);
     }},
    {"niwaki_model_input", "model",
     [](void* h) {
       niwaki_port port;
       return niwaki_model_input(as_model(h), 0, &port);
     }},
    {"niwaki_model_output", "model",
     [](void* h) {
       niwaki_port port;
       return niwaki_model_output(as_model(h), 0, &port);
     }},
    {"niwaki_model_size_count", "model",
     [](void* h) {
       size_t count;
       return niwaki_model_size_count(as_model(h), &count);
     }},
    {"niwaki_model_size", "model",
     [](void* h) {
       niwaki_size size;
       return niwaki_model_size(as_model(h), 0, &size);
     }},
    {"niwaki_model_state_count", "model",
     [](void* h) {
       size_t count;
       return niwaki_model_state_count(as_model(h), &count);
     }},
    {"niwaki_model_state", "model",
     [](void* h) {
       niwaki_state state;
       return niwaki_model_state(as_model(h), 0, &state);
     }},
    {"niwaki_model_metadata", "model",
     [](void* h) {
       const char* value;
       return niwaki_model_metadata(as_model(h), "source", &value);
     }},
    {"niwaki_model_isa", "model",
     [](void* h) {
       const char* isa;
       return niwaki_model_isa(as_model(h), &isa);
     }},
    {"niwaki_model_output_shape", "model",
     [](void* h) {
       const niwaki_shape inputs[] = {{4, {1, 3, 9, 11}}, {2, {1, 5}}};
       niwaki_shape shape;
       return niwaki_model_output_shape(as_model(h), inputs, 2, 0, &shape);
     }},
    {"niwaki_session_create", "model",
     [](void* h) {
       niwaki_session* session;
       return niwaki_session_create(as_model(h), nullptr, &session);
     }},
    {"niwaki_session_close", "session", [](void* h) { return niwaki_session_close(as_session(h)); }},
    {"niwaki_run", "session",
     [](void* h) {
       Arrays arrays;
       return arrays.run(as_session(h));
     }},
    {"niwaki_session_reset", "session", [](void* h) { return niwaki_session_reset(as_session(h)); }},
    {"niwaki_session_get_state", "session",
     [](void* h) {
       niwaki_tensor tensor{};
       return niwaki_session_get_state(as_session(h), "h", &tensor);
     }},
    {"niwaki_session_set_state", "session",
     [](void* h) {
       const niwaki_tensor tensor{};
       return niwaki_session_set_state(as_session(h), "h", &tensor);
     }},
    {"niwaki_session_layer_count", "session",
     [](void* h) {
       size_t count;
       return niwaki_session_layer_count(as_session(h), &count);
     }},
    {"niwaki_session_layer", "session",
     [](void* h) {
       niwaki_layer layer;
       return niwaki_session_layer(as_session(h), 0, &layer);
     }},
    {"niwaki_session_activation_bytes", "session",
     [](void* h) {
       size_t bytes;
       return niwaki_session_activation_bytes(as_session(h), &bytes);
     }},
};

TEST(capi_every_call_refuses_every_bad_handle) {
  void *closed_model, *closed_session;
  {
    Opened gone;
    closed_model = gone.model, closed_session = gone.session;
  }
  Opened opened;
  int nothing = 0;
  const Arrays wanted = expected();
  for (const Call& call : kCalls) {
    const bool model = std::strcmp(call.handle, "model") == 0, closes = std::strstr(call.name, "_close") != nullptr;
    const std::string start = std::string(call.name) + ": " + call.handle;
    if (!closes) REFUSED(call.call(nullptr), (start + " is NULL.").c_str());
    void* const bad[] = {model ? closed_model : closed_session, model ? static_cast<void*>(opened.session) : opened.model,
                         &nothing, reinterpret_cast<void*>(UINTPTR_MAX)};
    for (void* handle : bad) REFUSED(call.call(handle), (start + " is not open; it was closed").c_str());
    Arrays arrays;
    CHECK_EQ(arrays.run(opened.session), NIWAKI_OK);
    CHECK(arrays.same(wanted));
  }
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

}  // namespace
}  // namespace niwaki
