// A network as a list of operators in the order in which they can run. docs/architecture.md says what each operator computes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "graph/tensor.h"

namespace niwaki {

enum class Op : int {
  quantize,
  dequantize,
  conv2d,
  linear,
  max_pool2d,
  avg_pool2d,
  adaptive_avg_pool2d,
  add,
  mul,
  clamp,
  table,
  concat,
  slice,
  pad,
  reshape,
  channel_shuffle,
  upsample_nearest2d,
};

using Attributes = std::map<std::string, std::vector<int64_t>>;
using Tensors = std::map<std::string, Tensor>;

// real = scale * (q - zero_point)
struct Quantization {
  float scale = 1.0f;
  int32_t zero_point = 0;
  bool operator==(const Quantization&) const = default;
};

// What passes from operator to operator: u8 where it has a quantization, else f32.
struct Value {
  std::optional<Quantization> quantization;
  int rank = 4;           // 4 or 2
  int64_t channels = -1;  // -1 where it depends on the image size
  int node = -1;          // who makes it; -1 for an input of the graph
};

struct Node {
  Op op = Op::quantize;
  std::string name;
  std::vector<int> inputs;
  int output = -1;
  Attributes attributes;  // every one that the operator takes: defaults are filled in
  Tensors tensors;

  const std::vector<int64_t>& integers(const char* attribute) const { return attributes.at(attribute); }
  int64_t integer(const char* attribute) const { return attributes.at(attribute).at(0); }
  const Tensor& tensor(const char* tensor) const { return tensors.at(tensor); }
};

struct Port {
  std::string name;
  int value = -1;
  // Inputs of rank 4: the image size that is expected, 0 where unknown. Kernels are chosen for it; any other size works, too.
  int64_t expected_height = 0, expected_width = 0;
};

class Graph {
 public:
  // A float32 input, [N, channels, H, W] (rank 4) or [N, channels] (rank 2); for the expected size see Port. Returns its value.
  int add_input(const std::string& name, int64_t channels, int rank, int64_t expected_height = 0, int64_t expected_width = 0);

  // Returns the value that the node makes: u8 with `quantization`, f32 without. Throws Error (invalid_argument), naming the node,
  // for what the operator does not allow; the graph is then as before.
  int add_node(Op op, const std::string& name, std::vector<int> inputs, Attributes attributes, Tensors tensors,
               std::optional<Quantization> quantization);
  int add_node(const std::string& op, const std::string& name, std::vector<int> inputs, Attributes attributes, Tensors tensors,
               std::optional<Quantization> quantization);

  void add_output(int value, const std::string& name);

  // Lets go of the data of a node's tensors; their types and shapes stay. For a node whose weights were packed elsewhere.
  void forget_data(size_t node);

  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& values() const { return values_; }
  const Value& value(int index) const { return values_.at(static_cast<size_t>(index)); }

  std::map<std::string, std::string> metadata;

 private:
  friend class Fuser;  // rewrites nodes without asking for a second validation

  std::vector<Port> inputs_, outputs_;
  std::vector<Node> nodes_;
  std::vector<Value> values_;
};

}  // namespace niwaki
