// What each operator takes: the one table that validation, shapes, the file reader, the plan and docs/operators.md rely on.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

enum class AttributeKind : uint8_t {
  integers,     // constants
  expressions,  // integers, each of them a constant or an expression of the free sizes
  numbers,      // float64
  word,         // a string
};

struct AttributeRule {
  const char* name;
  AttributeKind kind;
  int count;                                                // how many; a single one given stands for all. 0: from 0 to kMaxAttribute
  int64_t low = INT64_MIN, high = INT64_MAX;                // what an integer that is constant may be
  std::optional<Attribute> otherwise = std::nullopt;        // where it is not given; nothing: it must be
  std::vector<const char*> words = {};                      // what a word may be; empty: anything
};

inline constexpr size_t kMaxAttribute = 64;

struct TensorRule {
  const char* name;
  DType dtype;
  int rank;  // -1: any
  bool optional = false;
};

// What operators take and make, as their rule sees it: at build time with expressions, at run time with constants.
struct Operand {
  DType dtype;
  Dims dims;
  int rank() const { return static_cast<int>(dims.size()); }
};

// A node whose inputs are known. `attributes` are the node's, at run time with constants in place of expressions.
struct Inference {
  const Node& node;
  const Attributes& attributes;
  std::span<const std::optional<Operand>> in;                       // nothing where an optional input is not given
  std::span<const std::optional<Quantization>> in_quantization;     // of each input
  std::span<const std::optional<Quantization>> quantizations;       // as given for the outputs; may be shorter than the outputs

  const Operand& input(size_t index) const { return *in[index]; }
  const Dims& dims(const char* attribute) const { return std::get<Dims>(attributes.at(attribute)); }
  int64_t integer(const char* attribute) const { return dims(attribute).at(0).value(); }
};

struct OperatorRule {
  Op op;
  const char* name;
  const char* summary;  // one line for docs/operators.md
  int min_inputs, max_inputs;
  bool u8_inputs;    // its inputs (of kind data) are u8 with a quantization
  bool keeps_scale;  // u8 inputs and u8 output carry the same scale and zero point
  std::vector<AttributeRule> attributes;
  std::vector<TensorRule> tensors;
  // The outputs' dtypes and dims. Refuses (see refuse) what the table cannot say: a dim is compared where both sides are constants, so
  // everything is checked once the sizes are known. Called after everything else was checked.
  std::vector<Operand> (*infer)(const Inference& node);
  // Constants' values (weights, scales, tables), checked once, when the node is added; null where there is nothing to check.
  void (*check)(const Graph& graph, const Node& node) = nullptr;
  // True where element n of axis 0 of each output depends on elements n of axis 0 of the inputs alone. Null: never. Dims are constants.
  bool (*batch_local)(const Inference& node, std::span<const Operand> out) = nullptr;
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
