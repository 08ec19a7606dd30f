#include "file/graph_words.h"

#include <algorithm>
#include <string>
#include <utility>

namespace niwaki {
namespace {

// What things take in memory, at most, with room for vectors that hold their old and their new memory while they grow.
constexpr uint64_t kNodeBytes = 3 * (sizeof(Node) + sizeof(Value)) + 1200;  // 1200: attributes that are left out
constexpr uint64_t kPortBytes = 3 * (sizeof(Port) + sizeof(Value));
constexpr uint64_t kEntryBytes = 256;  // of a map

// Operators take fewer, and say so. These only keep a list from filling the memory before that.
constexpr uint32_t kMostInputs = 1 << 16, kMostNamed = 64, kMostIntegers = 64;

class GraphReader {
 public:
  GraphReader(WordReader& in, uint32_t version, std::vector<Tensor> tensors, TensorRows* rows)
      : in_(in), version_(version), tensors_(std::move(tensors)), used_(tensors_.size(), false), rows_(rows) {}

  Graph read() {
    in_.read_strings();
    for (uint32_t left = in_.count(); left > 0; --left) read_metadata();
    for (uint32_t left = in_.count(); left > 0; --left) read_input();
    for (uint32_t left = in_.count(); left > 0; --left) read_node();
    for (uint32_t left = in_.count(); left > 0; --left) read_output();
    in_.expect_end();
    const auto unused = std::find(used_.begin(), used_.end(), false);
    if (unused != used_.end()) in_.refuse("tensor " + std::to_string(unused - used_.begin()) + " belongs to no node");
    return std::move(graph_);
  }

 private:
  // A name that this map does not have yet, and room for what comes under it.
  template <typename Map>
  std::string new_key(const Map& map) {
    in_.charge(kEntryBytes);
    std::string key = in_.string();
    if (map.contains(key)) in_.refuse("'" + key + "' is given twice");
    return key;
  }

  void read_metadata() {
    std::string key = new_key(graph_.metadata);
    graph_.metadata[std::move(key)] = in_.string();
  }

  void read_input() {
    in_.charge(kPortBytes);
    const std::string name = in_.string();
    const uint32_t channels = in_.count(), rank = in_.count(), height = in_.count(), width = in_.count();
    graph_.add_input(name, channels, static_cast<int>(std::min<uint32_t>(rank, 99)), height, width);
  }

  void read_output() {
    in_.charge(kPortBytes);
    const int value = read_value();
    graph_.add_output(value, in_.string());
  }

  // Numbers beyond int become its largest, which the graph refuses.
  int read_value() { return static_cast<int>(std::min<uint32_t>(in_.count(), 0x7fffffffu)); }

  Attributes read_attributes() {
    Attributes attributes;
    for (uint32_t left = in_.count_up_to(kMostNamed); left > 0; --left) {
      std::vector<int64_t>& integers = attributes[new_key(attributes)];
      for (uint32_t more = in_.count_up_to(kMostIntegers); more > 0; --more) integers.push_back(in_.integer());
    }
    return attributes;
  }

  // A tensor that several nodes used would be packed for each of them: a small file could fill any memory.
  Tensors read_tensors() {
    Tensors tensors;
    if (rows_ != nullptr) rows_->emplace_back();
    for (uint32_t left = in_.count_up_to(kMostNamed); left > 0; --left) {
      std::string key = new_key(tensors);
      const uint32_t index = in_.count();
      if (index >= tensors_.size()) in_.refuse("tensor " + std::to_string(index) + " does not exist");
      if (used_[index]) in_.refuse("tensor " + std::to_string(index) + " belongs to two nodes");
      used_[index] = true;
      if (rows_ != nullptr) rows_->back().emplace(key, index);
      tensors.emplace(std::move(key), std::move(tensors_[index]));
    }
    return tensors;
  }

  void read_node() {
    in_.charge(kNodeBytes);
    const std::string op = in_.string(), name = in_.string();
    std::vector<int> inputs;
    for (uint32_t left = in_.count_up_to(kMostInputs); left > 0; --left) {
      in_.charge(sizeof(int));
      inputs.push_back(read_value());
    }
    Attributes attributes = read_attributes();
    Tensors tensors = read_tensors();
    std::optional<Quantization> quantization;
    const auto quantized = in_.number<uint8_t>();
    if (quantized > 1) in_.refuse("output of " + name);
    if (quantized == 1) {
      const auto scale = in_.number<float>();
      const uint32_t zero_point = version_ == 1 ? in_.count() : in_.number<uint8_t>();
      quantization = Quantization{scale, static_cast<int32_t>(std::min<uint32_t>(zero_point, 256))};
    }
    graph_.add_node(op, name, std::move(inputs), std::move(attributes), std::move(tensors), quantization);
  }

  WordReader& in_;
  uint32_t version_;
  std::vector<Tensor> tensors_;
  std::vector<bool> used_;
  TensorRows* rows_;
  Graph graph_;
};

}  // namespace

Graph read_graph(WordReader& in, uint32_t version, std::vector<Tensor> tensors, TensorRows* rows) {
  return GraphReader(in, version, std::move(tensors), rows).read();
}

}  // namespace niwaki
