// niwaki_session_*: sessions, their states, what their last run took.
#include <cstring>
#include <utility>

#include "capi/handles.h"
#include "capi/objects.h"
#include "capi/tensors.h"

namespace niwaki::capi {

std::shared_ptr<OpenSession> open_session(const niwaki_session* handle, const char* function) {
  expect(handle, function, "session");
  auto found = find_handle(Kind::session, reinterpret_cast<uintptr_t>(handle));
  if (!found) refuse(std::string(function) + ": session is not open; it was closed, or is something else.");
  return std::static_pointer_cast<OpenSession>(std::move(found));
}

namespace {

const State& state_of(const OpenSession& session, const char* name, const char* function) {
  expect(name, function, "name");
  const auto& states = session.model->graph().states();
  for (const State& state : states)
    if (state.name == name) return state;
  refuse(std::string(function) + ": the network has no state '" + name + "'; " +
         (states.empty() ? "it has none." : "its first is '" + states[0].name + "'."));
}

// An array that a state is copied to or from.
void check_state(const State& state, const niwaki_tensor& tensor) {
  const std::string what = "State '" + state.name + "'";
  check_type(tensor, type_of(state.initial.dtype()), what);
  if (number_of(tensor.layout) != NIWAKI_NCHW) refuse(what + ": the layout of states is NIWAKI_NCHW.");
  if (const Sizes given = sizes_of(tensor.shape, what); given != state.initial.shape())
    refuse(what + ": its shape is " + text_of(state.initial.shape()) + ", not " + text_of(given) + ".");
  check_memory(tensor, static_cast<size_t>(state.initial.elements()), what);
}

}  // namespace
}  // namespace niwaki::capi

using namespace niwaki;
using namespace niwaki::capi;

niwaki_status niwaki_session_create(const niwaki_model* model, const niwaki_options* options, niwaki_session** session) {
  return guarded([&] {
    auto opened = open_model(model, "niwaki_session_create");
    expect(session, "niwaki_session_create", "session");
    const Options chosen = checked(options, "niwaki_session_create");
    const AllocatorScope scope(chosen.allocator);
    auto created = std::make_shared<OpenSession>(std::move(opened), chosen);
    *session = reinterpret_cast<niwaki_session*>(add_handle(Kind::session, std::move(created)));
  });
}

niwaki_status niwaki_session_close(niwaki_session* session) {
  return guarded([&] {
    if (session != nullptr && !remove_handle(Kind::session, reinterpret_cast<uintptr_t>(session)))
      refuse("niwaki_session_close: session is not open; it was closed before, or is something else.");
  });
}

niwaki_status niwaki_session_reset(niwaki_session* session) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_session_reset");
    const Claim claim(*opened);
    opened->session.reset_state();
  });
}

niwaki_status niwaki_session_get_state(niwaki_session* session, const char* name, niwaki_tensor* tensor) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_session_get_state");
    expect(tensor, "niwaki_session_get_state", "tensor");
    const Claim claim(*opened);
    const State& state = state_of(*opened, name, "niwaki_session_get_state");
    if (tensor->shape.rank == 0 || tensor->shape.rank == -1) tensor->shape = shape_of(state.initial.shape());
    check_state(state, *tensor);
    const Tensor value = opened->session.state(name);
    if (value.bytes() > 0) std::memcpy(tensor->data, value.data(), static_cast<size_t>(value.bytes()));
  });
}

niwaki_status niwaki_session_set_state(niwaki_session* session, const char* name, const niwaki_tensor* tensor) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_session_set_state");
    expect(tensor, "niwaki_session_set_state", "tensor");
    const Claim claim(*opened);
    const AllocatorScope scope(opened->allocator);
    const State& state = state_of(*opened, name, "niwaki_session_set_state");
    check_state(state, *tensor);
    check_bools(*tensor, static_cast<size_t>(state.initial.elements()), "State '" + state.name + "'");
    opened->session.set_state(name, Tensor::copy_of(state.initial.dtype(), state.initial.shape(), tensor->data));
  });
}

niwaki_status niwaki_session_layer_count(const niwaki_session* session, size_t* count) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_session_layer_count");
    expect(count, "niwaki_session_layer_count", "count");
    *count = opened->session.model().steps().size();
  });
}

niwaki_status niwaki_session_layer(const niwaki_session* session, size_t index, niwaki_layer* layer) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_session_layer");
    expect(layer, "niwaki_session_layer", "layer");
    const Claim claim(*opened);
    const auto& step = item_at(opened->session.model().steps(), index, "niwaki_session_layer", "layer");
    const StepInfo& info = step->info;
    *layer = {info.name.c_str(),
              info.op.c_str(),
              info.scheme.c_str(),
              info.kernel.c_str(),
              info.reason.c_str(),
              info.zeros,
              info.bytes,
              opened->session.macs()[index],
              opened->session.milliseconds()[index]};
  });
}

niwaki_status niwaki_session_activation_bytes(const niwaki_session* session, size_t* bytes) {
  return guarded([&] {
    const auto opened = open_session(session, "niwaki_session_activation_bytes");
    expect(bytes, "niwaki_session_activation_bytes", "bytes");
    const Claim claim(*opened);
    *bytes = static_cast<size_t>(opened->session.activation_bytes());
  });
}
