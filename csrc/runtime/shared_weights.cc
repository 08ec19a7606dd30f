#include "runtime/shared_weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace niwaki {
namespace {

template <typename Number>
void add(std::string& key, Number number) {
  key.append(reinterpret_cast<const char*>(&number), sizeof number);
}

void add(std::string& key, const std::string& text) {
  add(key, text.size());
  key += text;
}

// Two expressions have the same bytes where they are written alike; an unknown one is like no other.
void add(std::string& key, const Dim& dim) {
  add(key, dim.kind());
  if (dim.is_unknown()) return add(key, &dim);
  if (dim.is_constant() || dim.kind() == Dim::Kind::size) return add(key, dim.value());
  add(key, dim.left()), add(key, dim.right());
}

void add(std::string& key, const Dims& dims) {
  add(key, dims.size());
  for (const Dim& dim : dims) add(key, dim);
}

void add(std::string& key, const Attribute& attribute) {
  add(key, attribute.index());
  if (const auto* dims = std::get_if<Dims>(&attribute)) return add(key, *dims);
  if (const auto* word = std::get_if<std::string>(&attribute)) return add(key, *word);
  const auto& numbers = std::get<std::vector<double>>(attribute);
  add(key, numbers.size());
  for (const double number : numbers) add(key, number);
}

// A value as the maker of a step sees it.
void add(std::string& key, const StepMaker& maker, const std::vector<int>& values) {
  add(key, values.size());
  for (const int number : values) {
    add(key, number >= 0);
    if (number < 0) continue;
    const Value& value = maker.graph.value(number);
    add(key, value.dtype), add(key, value.dims), add(key, maker.axes[static_cast<size_t>(number)]);
    add(key, value.quantization.has_value());
    if (value.quantization) add(key, value.quantization->scale), add(key, value.quantization->zero_point);
  }
}

}  // namespace

std::shared_ptr<const Constant> make_constant(const Tensor& tensor) {
  auto constant = std::make_shared<Constant>();
  constant->tensor = tensor.unpacked();
  constant->data = constant->tensor.data();
  if (constant->data != nullptr && reinterpret_cast<std::uintptr_t>(constant->data) % kCacheLine == 0) return constant;
  const auto bytes = static_cast<size_t>(constant->tensor.bytes());
  constant->copy = Buffer(std::max<size_t>(bytes, 1));
  if (bytes > 0) std::memcpy(constant->copy.data(), constant->data, bytes);
  constant->data = constant->copy.data();
  constant->tensor = Tensor();
  return constant;
}

std::string SharedWeights::key_of(const Tensor& tensor) {
  std::string key;
  add(key, tensor.address()), add(key, tensor.dtype()), add(key, tensor.shape().size());
  for (const int64_t size : tensor.shape()) add(key, size);
  const std::lock_guard lock(mutex_);
  tensors_.push_back(tensor);
  return key;
}

std::string SharedWeights::key_of(const StepMaker& maker, const std::vector<std::string>& fused) {
  const Node& node = maker.node;
  std::string key = "step";
  add(key, node.op), add(key, node.name), add(key, fused.size());
  for (const std::string& name : fused) add(key, name);
  add(key, maker.isa), add(key, maker.kind), add(key, maker.expected_pixels);
  add(key, maker, node.inputs), add(key, maker, node.outputs);
  for (const auto& [name, attribute] : node.attributes) add(key, name), add(key, attribute);
  for (const auto& [name, tensor] : node.tensors) add(key, name), key += key_of(tensor);
  return key;
}

std::shared_ptr<void> SharedWeights::find(const std::string& key) {
  const std::lock_guard lock(mutex_);
  const auto found = made_.find(key);
  return found == made_.end() ? nullptr : found->second;
}

std::shared_ptr<void> SharedWeights::keep(const std::string& key, std::shared_ptr<void> made) {
  const std::lock_guard lock(mutex_);
  return made_.emplace(key, std::move(made)).first->second;
}

std::shared_ptr<Step> SharedWeights::step(const StepMaker& maker, std::vector<std::string> fused) {
  const std::string key = key_of(maker, fused);
  if (const auto found = find(key)) return std::static_pointer_cast<Step>(found);
  std::shared_ptr<Step> made = make_step(maker, std::move(fused));
  if (const Tensor* weight = maker.node.find_tensor("weight")) {
    const auto first = std::static_pointer_cast<Step>(keep("weight" + key_of(*weight), made));
    if (first != made) made->share_weights(*first);
  }
  return std::static_pointer_cast<Step>(keep(key, std::move(made)));
}

std::shared_ptr<const Constant> SharedWeights::constant(const Tensor& tensor) {
  const std::string key = "constant" + key_of(tensor);
  if (const auto found = find(key)) return std::static_pointer_cast<const Constant>(found);
  return std::static_pointer_cast<const Constant>(keep(key, std::const_pointer_cast<Constant>(make_constant(tensor))));
}

}  // namespace niwaki
