#include "file/graph_parts.h"

#include <algorithm>

namespace niwaki {
namespace {

// In memory, with room for vectors that hold their old and their new memory while they grow.
constexpr uint64_t kNodeBytes = 3 * sizeof(Node), kValueBytes = 3 * sizeof(Value), kDimBytes = 3 * sizeof(Dim) + 64;

uint64_t bytes_of(const Attribute& attribute) {
  if (const auto* dims = std::get_if<Dims>(&attribute)) return dims->size() * sizeof(Dim);
  if (const auto* numbers = std::get_if<std::vector<double>>(&attribute)) return numbers->size() * sizeof(double);
  return std::get<std::string>(attribute).size();
}

}  // namespace

void charge_node(WordReader& in, const Graph& graph) {
  const Node& node = graph.nodes().back();
  uint64_t bytes = kNodeBytes + node.outputs.size() * sizeof(int);
  for (const auto& [name, attribute] : node.attributes) bytes += kEntryBytes + bytes_of(attribute);
  for (const int output : node.outputs) bytes += kValueBytes + graph.value(output).dims.size() * kDimBytes;
  in.charge(bytes);
}

uint32_t TensorShelf::take_index(size_t node, Repeated* repeated) {
  const uint32_t index = in_.count();
  if (index >= tensors_.size()) in_.refuse("tensor " + std::to_string(index) + " does not exist");
  if (last_[index] == entry_) {
    if (repeated == nullptr || node_.empty() || node_[index] == kNone || node_[index] == node)
      in_.refuse("tensor " + std::to_string(index) + " belongs to two nodes");
    repeated->node = node_[index], ++repeated->tensors;
    return index;
  }
  last_[index] = entry_;
  if (!node_.empty()) node_[index] = node;
  return index;
}

// The last entry gets the tensors themselves, which were counted with the table; the others get copies, and so do all where a node may come that has them, too.
Tensor TensorShelf::take(uint32_t index) {
  if (is_last_ && node_.empty()) return std::move(tensors_[index]);
  in_.charge(kTensorBytes);
  return tensors_[index];
}

void TensorShelf::begin_entry(bool last) {
  ++entry_;
  is_last_ = last;
  if (rows_ != nullptr) rows_->emplace_back();
}

Tensor TensorShelf::take_for_state() {
  const uint32_t index = take_index(kNone, nullptr);
  if (rows_ != nullptr) rows_->back().states.push_back(index);
  return take(index);
}

Tensors TensorShelf::take_for_node(size_t node, Repeated* repeated) {
  Tensors tensors;
  if (rows_ != nullptr) rows_->back().nodes.emplace_back();
  for (uint32_t left = in_.count_up_to(kMostNamed); left > 0; --left) {
    std::string key = read_key(in_, tensors);
    const uint32_t index = take_index(node, repeated);
    if (rows_ != nullptr) rows_->back().nodes.back().emplace(key, index);
    tensors.emplace(std::move(key), take(index));
  }
  return tensors;
}

void TensorShelf::expect_all_taken() const {
  const auto unused = std::find(last_.begin(), last_.end(), 0u);
  if (unused != last_.end()) in_.refuse("tensor " + std::to_string(unused - last_.begin()) + " belongs to no node");
}

}  // namespace niwaki
