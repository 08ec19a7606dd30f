// niwaki for C++17: niwaki.h with destructors and exceptions. See there for ownership and threads.
//
//   niwaki::Model model("resnet50.niwaki");
//   niwaki::Session session(model, {.threads = 2});  // C++20; before: niwaki_options options{}; options.threads = 2;
//   std::vector<float> scores = session.run({niwaki::input(pixels, {1, 3, 224, 224})})[0].values;
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
  if (sizes.size() > NIWAKI_MAX_RANK) throw Error(NIWAKI_INVALID_ARGUMENT, "A shape has at most four sizes.");
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

// An input in `data`, a contiguous container of float or uint8_t that outlives the run.
template <typename Container>
niwaki_tensor input(const Container& data, const Sizes& sizes, niwaki_layout layout = NIWAKI_NCHW, const char* name = nullptr) {
  using Element = std::remove_cv_t<std::remove_pointer_t<decltype(data.data())>>;
  static_assert(std::is_same_v<Element, float> || std::is_same_v<Element, std::uint8_t>, "inputs are float or uint8_t");
  niwaki_tensor tensor{};
  tensor.name = name;
  tensor.type = std::is_same_v<Element, float> ? NIWAKI_FLOAT32 : NIWAKI_UINT8;
  tensor.layout = layout;
  tensor.shape = shape(sizes);
  tensor.data = const_cast<std::remove_cv_t<Element>*>(data.data());
  tensor.bytes = data.size() * sizeof(Element);
  return tensor;
}

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

  // Names and shapes; the names are valid while the model lives.
  std::vector<niwaki_port> inputs() const {
    std::size_t count = 0;
    check(niwaki_model_counts(get(), &count, nullptr));
    std::vector<niwaki_port> ports(count);
    for (std::size_t i = 0; i < count; ++i) check(niwaki_model_input(get(), i, &ports[i]));
    return ports;
  }
  std::vector<niwaki_port> outputs() const {
    std::size_t count = 0;
    check(niwaki_model_counts(get(), nullptr, &count));
    std::vector<niwaki_port> ports(count);
    for (std::size_t i = 0; i < count; ++i) check(niwaki_model_output(get(), i, &ports[i]));
    return ports;
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
  struct Close {
    void operator()(niwaki_model* model) const { niwaki_model_close(model); }
  };
  std::unique_ptr<niwaki_model, Close> model_;
};

struct Output {
  std::string name;
  Sizes sizes;
  std::vector<float> values;
};

class Session {
 public:
  explicit Session(const Model& model, const niwaki_options& options = {}) {
    niwaki_session* session = nullptr;
    check(niwaki_session_create(model.get(), &options, &session));
    session_.reset(session);
    for (const niwaki_port& port : model.outputs()) names_.push_back(port.name);
  }

  niwaki_session* get() const { return session_.get(); }

  // Into the caller's own buffers.
  void run(const std::vector<niwaki_tensor>& inputs, std::vector<niwaki_tensor>& outputs) {
    check(niwaki_run(get(), inputs.data(), inputs.size(), outputs.data(), outputs.size()));
  }

  // Into new arrays.
  std::vector<Output> run(const std::vector<niwaki_tensor>& inputs) {
    std::vector<niwaki_tensor> tensors(names_.size());
    // Too small on purpose: the call sets the shapes.
    const niwaki_status status = niwaki_run(get(), inputs.data(), inputs.size(), tensors.data(), tensors.size());
    std::vector<Output> outputs(names_.size());
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      if (status != NIWAKI_OK && tensors[i].shape.rank == 0) check(status);
      outputs[i] = {names_[i], sizes(tensors[i].shape), std::vector<float>(elements(tensors[i].shape))};
      tensors[i].data = outputs[i].values.data();
      tensors[i].bytes = outputs[i].values.size() * sizeof(float);
    }
    run(inputs, tensors);
    return outputs;
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
  std::vector<std::string> names_;
};

}  // namespace wrapper
}  // namespace niwaki

#endif
