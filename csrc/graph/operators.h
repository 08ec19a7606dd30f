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

// How many values an attribute has, where that is no fixed number.
inline constexpr int kAnyCount = 0;       // none to kMaxAttribute
inline constexpr int kSpatial = -1;       // one for each axis of the first input after the first two
inline constexpr int kSpatialPairs = -2;  // two for each of them: before and after
inline constexpr int kAxisPairs = -3;     // two for each axis of the first input
inline constexpr size_t kMaxAttribute = 64;

struct AttributeRule {
  const char* name;
  AttributeKind kind;
  int count;                                          // how many; where several are meant, a single one given stands for all
  int64_t low = INT64_MIN, high = INT64_MAX;          // what an integer may be, an expression's value, too
  std::optional<Attribute> otherwise = std::nullopt;  // where it is not given; nothing: it must be
  std::vector<const char*> words = {};                // what a word may be
};

// Bit i: DType i.
using TypeSet = uint8_t;
template <typename... Types>
constexpr TypeSet types_of(Types... types) {
  return static_cast<TypeSet>((... | (1 << static_cast<int>(types))));
}
constexpr bool contains(TypeSet set, DType type) { return (set >> static_cast<int>(type) & 1) != 0; }
std::string text_of(TypeSet set);  // "int64 or int32"

struct InputRule {
  const char* name;
  TypeSet types;
  int min_rank = 0, max_rank = kMaxRank;
  bool optional = false;  // may be -1, or be left out at the end
};

struct TensorRule {
  std::string name;
  TypeSet types;
  int rank;  // kAnyRank: any
  bool optional = false;
};
inline constexpr int kAnyRank = -1;

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
  std::span<const std::optional<Operand>> in;                     // nothing where an optional input is not given
  std::span<const std::optional<Quantization>> in_quantizations;  // of each input
  std::span<const std::optional<Quantization>> quantizations;     // as given for the outputs; may be fewer than there are
  std::span<const std::string> size_names;                        // for messages

  bool given(size_t index) const { return index < in.size() && in[index].has_value(); }
  const Operand& input(size_t index) const { return *in[index]; }
  const Dims& dims(const char* attribute) const { return std::get<Dims>(attributes.at(attribute)); }
  int64_t integer(const char* attribute) const { return dims(attribute).at(0).value(); }
  bool is_quantized(size_t output) const { return output < quantizations.size() && quantizations[output].has_value(); }
};

// A node at run time that may have to run for some elements of axis 0 at a time. An input that is not batched is the same whatever the
// number of elements is.
struct BatchInference {
  const Inference& node;
  std::span<const Operand> out;
  const std::vector<bool>& batched;  // of each input; false where it is not given
  bool shape_follows;                // the first dim of the attribute `shape` is the number of images, whatever that is

  const Operand& input(size_t index) const { return node.input(index); }
};

// A u8 input is one whose `types` hold u8 alone. Where they hold u8 and others, u8 is moved like any other type.
struct OperatorRule {
  const char* summary;  // one line for docs/operators.md
  std::vector<InputRule> inputs;
  bool repeats_input = false;  // the last input may be given again and again, kMaxInputs in all
  bool keeps_scale = false;    // u8 inputs and u8 outputs carry the same scale and zero point
  std::vector<AttributeRule> attributes = {};
  std::vector<TensorRule> tensors = {};
  // Further tensors, whose number follows from the attributes, and what docs/operators.md says of them. Null: there are none.
  std::vector<TensorRule> (*more_tensors)(const Node& node) = nullptr;
  const char* more_tensors_text = "";
  // Constants: sizes and values of tensors, attributes that must fit together. Checked once, when the node is added, after what the table
  // says and before `infer`. Null where there is nothing to check.
  void (*check)(const Inference& node) = nullptr;
  // The outputs' dtypes and dims. Refuses (see refuse) what the table cannot say: a dim is compared where both sides are constants, so
  // everything is checked once the sizes are known.
  std::vector<Operand> (*infer)(const Inference& node) = nullptr;
  // True where element n of axis 0 of each output depends on elements n of axis 0 of the batched inputs alone. Null: never.
  bool (*batch_local)(const BatchInference& node) = nullptr;
  Op op{};  // these two from operators.inc
  const char* name = "";
};

inline constexpr size_t kMaxInputs = 4096;

// All of them, in the order of Op.
const std::vector<OperatorRule>& operator_rules();
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
