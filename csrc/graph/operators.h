// What each operator takes: the one table that validation, the file reader and the plan rely on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

struct AttributeRule {
  const char* name;
  int count;                       // how many integers; a single one stands for all of them. 0: any number from 1 to 8
  int64_t low, high;               // what each may be
  std::vector<int64_t> otherwise;  // where it is not given; empty: it must be
};

struct TensorRule {
  const char* name;
  DType dtype;
  int rank;
};

// What is known of a node's output before the image size is.
struct Known {
  int rank;
  int64_t channels;
};

enum class Makes { u8, f32, either };

struct OperatorRule {
  Op op;
  const char* name;
  int min_inputs, max_inputs;
  Makes makes;
  bool takes_float;  // its input is f32, else u8
  bool keeps_scale;  // inputs and output carry the same scale and zero point
  std::vector<AttributeRule> attributes;
  std::vector<TensorRule> tensors;
  Known (*check)(const Graph& graph, const Node& node);  // what the table cannot say; after everything else was checked
};

const OperatorRule& operator_rule(Op op);
const OperatorRule* find_operator(const std::string& name);  // nullptr for an unknown name

inline const char* op_name(Op op) { return operator_rule(op).name; }

// "layer1.0.conv1 (conv2d)", for messages.
std::string describe(const Node& node);

// Throws Error(invalid_argument, "<node>: <what>").
[[noreturn]] void refuse(const Node& node, const std::string& what);

// The longest sum whose terms of at most 255 * 127 fit int32.
inline constexpr int64_t kMaxReduction = 66311;

// Factors between scales stay below this, so that no product with an int32 sum reaches infinity and no sum of two of them NaN.
inline constexpr float kMaxFactor = 1e25f;

bool is_depthwise(const Node& conv);  // groups = input channels = output channels

}  // namespace niwaki
