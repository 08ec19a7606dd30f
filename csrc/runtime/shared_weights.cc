#include "runtime/shared_weights.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace niwaki {
namespace {

// A value as the maker of a step sees it.
struct Seen {
  bool given;
  DType dtype;
  std::optional<Quantization> quantization;
  Dims dims;
  int axis;
  bool operator==(const Seen&) const = default;
};

std::vector<Seen> values_of(const StepMaker& maker) {
  std::vector<Seen> seen;
  for (const auto* values : {&maker.node.inputs, &maker.node.outputs})
    for (const int value : *values) {
      if (value < 0) {
        seen.push_back({});
        continue;
      }
      const Value& found = maker.graph.value(value);
      seen.push_back({true, found.dtype, found.quantization, found.dims, maker.axes[static_cast<size_t>(value)]});
    }
  return seen;
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

struct SharedWeights::Made {
  Op op;
  Attributes attributes;
  std::vector<std::pair<std::string, TensorIdentity>> tensors;
  std::vector<Seen> values;
  std::vector<std::string> fused;
  Isa isa;
  ConvKind kind;
  int64_t expected_pixels;
  std::shared_ptr<Step> step;

  bool is_alike(const StepMaker& maker, const std::vector<std::string>& names) const {
    const Node& node = maker.node;
    if (op != node.op || isa != maker.isa || kind != maker.kind || expected_pixels != maker.expected_pixels || fused != names ||
        attributes != node.attributes || tensors.size() != node.tensors.size())
      return false;
    for (const auto& [name, identity] : tensors) {
      const Tensor* tensor = node.find_tensor(name.c_str());
      if (tensor == nullptr || !identity.is(*tensor)) return false;
    }
    return values == values_of(maker);
  }
};

std::shared_ptr<Step> SharedWeights::step(const StepMaker& maker, std::vector<std::string> fused) {
  const Node& node = maker.node;
  {
    const std::lock_guard lock(mutex_);
    const auto [begin, end] = steps_.equal_range(node.name);
    const auto found = std::find_if(begin, end, [&](const auto& one) { return one.second->is_alike(maker, fused); });
    if (found != end) return found->second->step;
  }
  std::shared_ptr<Step> made = make_step(maker, std::move(fused));
  auto known = std::make_shared<Made>(
      Made{node.op, node.attributes, {}, values_of(maker), made->info.fused, maker.isa, maker.kind, maker.expected_pixels, made});
  for (const auto& [name, tensor] : node.tensors) known->tensors.emplace_back(name, TensorIdentity(tensor));
  const std::lock_guard lock(mutex_);
  steps_.emplace(node.name, std::move(known));
  return made;
}

std::shared_ptr<const Constant> SharedWeights::constant(const Tensor& tensor) {
  const auto find = [&] {
    return std::find_if(constants_.begin(), constants_.end(), [&](const auto& one) { return one.first.is(tensor); });
  };
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = find(); found != constants_.end()) return found->second;
  }
  auto made = make_constant(tensor);
  const std::lock_guard lock(mutex_);
  if (const auto found = find(); found != constants_.end()) return found->second;
  constants_.emplace_back(TensorIdentity(tensor), made);
  return made;
}

}  // namespace niwaki
