// niwaki for C++17: niwaki.h with destructors and exceptions. See there for ownership and threads.
//
//   niwaki::Model model("resnet50.niwaki");
//   niwaki::Session session(model, {.threads = 2});  // C++20; before: niwaki_options options{}; options.threads = 2;
//   std::vector<float> scores = session.run({niwaki::input(pixels, {1, 3, 224, 224})})[0].values;
//   auto logits = text_session.run({niwaki::input(ids, {1, 12}), niwaki::input(mask, {1, 12})});  // std::vector<int64_t> ids, mask
#ifndef NIWAKI_NIWAKI_HPP
#define NIWAKI_NIWAKI_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "niwaki/niwaki.h"

namespace niwaki {
// Keeps these names apart from those inside a static libniwaki.
inline namespace wrapper {

class Error : public std::runtime_error {
 public:
  Error(niwaki_status status, const char* sentence) : std::runtime_error(sentence), status_(status) {}
  niwaki_status status() const { return status_; }

 private:
  niwaki_status status_;
};

inline void check(niwaki_status status) {
  if (status != NIWAKI_OK) throw Error(status, niwaki_last_error());
}

using Sizes = std::vector<std::int64_t>;

inline niwaki_shape shape(const Sizes& sizes) {
  if (sizes.size() > NIWAKI_MAX_RANK) throw Error(NIWAKI_INVALID_ARGUMENT, "A shape has at most eight sizes.");
  niwaki_shape result{};
  result.rank = static_cast<std::int32_t>(sizes.size());
  std::copy(sizes.begin(), sizes.end(), result.sizes);
  return result;
}

inline Sizes sizes(const niwaki_shape& shape) { return Sizes(shape.sizes, shape.sizes + shape.rank); }

inline std::size_t elements(const niwaki_shape& shape) {
  std::size_t count = 1;
  for (std::int32_t i = 0; i < shape.rank; ++i) count *= static_cast<std::size_t>(shape.sizes[i]);
  return count;
}

// The type of an array of such elements.
template <typename Element>
constexpr niwaki_type type_of() {
  constexpr bool is_integer = std::is_integral_v<Element> && std::is_signed_v<Element>;
  static_assert(std::is_same_v<Element, float> || std::is_same_v<Element, std::uint8_t> || std::is_same_v<Element, bool> ||
                    std::is_same_v<Element, std::int8_t> || (is_integer && (sizeof(Element) == 4 || sizeof(Element) == 8)),
                "elements are float, uint8_t, int8_t, int64_t, int32_t or bool");
  if (std::is_same_v<Element, float>) return NIWAKI_FLOAT32;
  if (std::is_same_v<Element, bool>) return NIWAKI_BOOL;
  if (std::is_same_v<Element, std::int8_t>) return NIWAKI_INT8;
  return !is_integer ? NIWAKI_UINT8 : sizeof(Element) == 8 ? NIWAKI_INT64 : NIWAKI_INT32;
}

// An input, or a state to set, in `data`, a contiguous container that outlives the call.
template <typename Container>
niwaki_tensor input(const Container& data, const Sizes& sizes, niwaki_layout layout = NIWAKI_NCHW, const char* name = nullptr) {
  using Element = std::remove_cv_t<std::remove_pointer_t<decltype(data.data())>>;
  niwaki_tensor tensor{};
  tensor.name = name;
  tensor.type = type_of<Element>();
  tensor.layout = layout;
  tensor.shape = shape(sizes);
  tensor.data = const_cast<Element*>(data.data());
  tensor.bytes = data.size() * sizeof(Element);
  return tensor;
}

// An output or a state in an array of its own: the one of these that is of its type.
struct Output {
  std::string name;
  niwaki_type type = NIWAKI_FLOAT32;
  Sizes sizes;
  std::vector<float> values;
  std::vector<std::int64_t> int64s;
  std::vector<std::int32_t> int32s;
  std::vector<std::uint8_t> bools;  // 0 or 1
  std::vector<std::uint8_t> uint8s;
  std::vector<std::int8_t> int8s;

  // Makes room for an array of this shape; what a call may write it to.
  niwaki_tensor resize(const niwaki_shape& shape) {
    sizes = niwaki::sizes(shape);
    const std::size_t count = elements(shape);
    niwaki_tensor tensor{};
    switch (type) {
      case NIWAKI_FLOAT32: tensor = room(values, count); break;
      case NIWAKI_INT64: tensor = room(int64s, count); break;
      case NIWAKI_INT32: tensor = room(int32s, count); break;
      case NIWAKI_BOOL: tensor = room(bools, count); break;
      case NIWAKI_UINT8: tensor = room(uint8s, count); break;
      case NIWAKI_INT8: tensor = room(int8s, count); break;
    }
    tensor.type = type;
    tensor.shape = shape;
    return tensor;
  }

 private:
  template <typename Element>
  static niwaki_tensor room(std::vector<Element>& array, std::size_t count) {
    array.resize(count);
    niwaki_tensor tensor{};
    tensor.data = array.data();
    tensor.bytes = count * sizeof(Element);
    return tensor;
  }
};

class Model {
 public:
  explicit Model(const std::string& path, const niwaki_options& options = {}) {
    niwaki_model* model = nullptr;
    check(niwaki_model_open(path.c_str(), &options, &model));
    model_.reset(model);
  }
  Model(const void* data, std::size_t bytes, const niwaki_options& options = {}) {
    niwaki_model* model = nullptr;
    check(niwaki_model_open_memory(data, bytes, &options, &model));
    model_.reset(model);
  }

  const niwaki_model* get() const { return model_.get(); }

  // The entry points by name, and one of them as a model of its own, which shares the weights and may outlive this one. Where there are
  // several, a session wants one of them: Session(model.entry("text")).
  std::vector<std::string> entries() const {
    std::size_t count = 0;
    check(niwaki_model_entry_count(get(), &count));
    std::vector<std::string> names;
    for (const char* name : list<const char*>(count, niwaki_model_entry_name)) names.emplace_back(name);
    return names;
  }
  Model entry(const std::string& name) const {
    niwaki_model* model = nullptr;
    check(niwaki_model_entry(get(), name.c_str(), &model));
    return Model(model);
  }

  // Names, types, shapes and ranges; all names are valid while the model lives.
  std::vector<niwaki_port> inputs() const {
    std::size_t count = 0;
    check(niwaki_model_counts(get(), &count, nullptr));
    return list<niwaki_port>(count, niwaki_model_input);
  }
  std::vector<niwaki_port> outputs() const {
    std::size_t count = 0;
    check(niwaki_model_counts(get(), nullptr, &count));
    return list<niwaki_port>(count, niwaki_model_output);
  }
  std::vector<niwaki_size> free_sizes() const {
    std::size_t count = 0;
    check(niwaki_model_size_count(get(), &count));
    return list<niwaki_size>(count, niwaki_model_size);
  }
  std::vector<niwaki_state> states() const {
    std::size_t count = 0;
    check(niwaki_model_state_count(get(), &count));
    return list<niwaki_state>(count, niwaki_model_state);
  }

  // Throws for a key that the file does not have.
  std::string metadata(const std::string& key) const {
    const char* value = nullptr;
    check(niwaki_model_metadata(get(), key.c_str(), &value));
    return value;
  }

  std::string isa() const {
    const char* isa = nullptr;
    check(niwaki_model_isa(get(), &isa));
    return isa;
  }

  // Sizes of all outputs for inputs of these sizes.
  std::vector<Sizes> output_sizes(const std::vector<Sizes>& inputs) const {
    std::vector<niwaki_shape> shapes;
    for (const Sizes& sizes : inputs) shapes.push_back(shape(sizes));
    std::size_t count = 0;
    check(niwaki_model_counts(get(), nullptr, &count));
    std::vector<Sizes> result;
    for (std::size_t i = 0; i < count; ++i) {
      niwaki_shape output{};
      check(niwaki_model_output_shape(get(), shapes.data(), shapes.size(), i, &output));
      result.push_back(sizes(output));
    }
    return result;
  }

 private:
  explicit Model(niwaki_model* model) : model_(model) {}

  template <typename Item>
  std::vector<Item> list(std::size_t count, niwaki_status (*get_item)(const niwaki_model*, std::size_t, Item*)) const {
    std::vector<Item> items(count);
    for (std::size_t i = 0; i < count; ++i) check(get_item(get(), i, &items[i]));
    return items;
  }

  struct Close {
    void operator()(niwaki_model* model) const { niwaki_model_close(model); }
  };
  std::unique_ptr<niwaki_model, Close> model_;
};

class Session {
 public:
  explicit Session(const Model& model, const niwaki_options& options = {}) {
    niwaki_session* session = nullptr;
    check(niwaki_session_create(model.get(), &options, &session));
    session_.reset(session);
    for (const niwaki_port& port : model.outputs()) {
      outputs_.emplace_back();
      outputs_.back().name = port.name;
      outputs_.back().type = port.type;
    }
    for (const niwaki_state& state : model.states()) {
      states_.emplace_back();
      states_.back().name = state.name;
      states_.back().type = state.type;
      states_.back().sizes = sizes(state.shape);
    }
  }

  niwaki_session* get() const { return session_.get(); }

  // Into the caller's own buffers.
  void run(const std::vector<niwaki_tensor>& inputs, std::vector<niwaki_tensor>& outputs) {
    check(niwaki_run(get(), inputs.data(), inputs.size(), outputs.data(), outputs.size()));
  }

  // Into new arrays.
  std::vector<Output> run(const std::vector<niwaki_tensor>& inputs) {
    std::vector<Output> outputs = outputs_;
    std::vector<niwaki_tensor> tensors(outputs.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      tensors[i].type = outputs[i].type;
      tensors[i].shape.rank = -1;
    }
    // Without memory on purpose: the call sets the shapes before it finds that out.
    const niwaki_status status = niwaki_run(get(), inputs.data(), inputs.size(), tensors.data(), tensors.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (tensors[i].shape.rank == -1) check(status);
      tensors[i] = outputs[i].resize(tensors[i].shape);
    }
    if (status != NIWAKI_OK) run(inputs, tensors);  // else no output has an element, and it ran
    return outputs;
  }

  // States, by name: as they were at first, copied out, copied in (see input).
  void reset() { check(niwaki_session_reset(get())); }
  Output state(const std::string& name) {
    const auto known = std::find_if(states_.begin(), states_.end(), [&](const Output& state) { return state.name == name; });
    Output result;
    if (known != states_.end()) result = *known;
    niwaki_tensor tensor = result.resize(shape(result.sizes));
    check(niwaki_session_get_state(get(), name.c_str(), &tensor));
    return result;
  }
  void set_state(const std::string& name, const niwaki_tensor& tensor) {
    check(niwaki_session_set_state(get(), name.c_str(), &tensor));
  }

  std::vector<niwaki_layer> layers() const {
    std::size_t count = 0;
    check(niwaki_session_layer_count(get(), &count));
    std::vector<niwaki_layer> result(count);
    for (std::size_t i = 0; i < count; ++i) check(niwaki_session_layer(get(), i, &result[i]));
    return result;
  }

  std::size_t activation_bytes() const {
    std::size_t bytes = 0;
    check(niwaki_session_activation_bytes(get(), &bytes));
    return bytes;
  }

 private:
  struct Close {
    void operator()(niwaki_session* session) const { niwaki_session_close(session); }
  };
  std::unique_ptr<niwaki_session, Close> session_;
  std::vector<Output> outputs_, states_;  // names, types, and shapes of the states
};

}  // namespace wrapper
}  // namespace niwaki

#endif
