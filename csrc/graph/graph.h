// A network as a list of operators in the order in which they can run. docs/architecture.md says what each operator computes.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "graph/dim.h"
#include "graph/tensor.h"

namespace niwaki {

inline constexpr int kMaxRank = 8;

// One for each row of operators.inc.
enum class Op : int {
#define NIWAKI_OPERATOR(name) name,
#include "graph/operators.inc"
#undef NIWAKI_OPERATOR
};

// Integers may be expressions of the free sizes, where the operator's rule allows it.
class Attribute : public std::variant<Dims, std::vector<double>, std::string> {
 public:
  using variant::variant;
  // Copied first and then moved in. libstdc++ 12 takes a variant of these for one that always has a value, and destroys what is not there
  // where there is no memory for a copy.
  Attribute(const Attribute& other) : variant(std::visit([](auto value) { return variant(std::move(value)); }, base(other))) {}
  Attribute(Attribute&&) noexcept = default;
  Attribute& operator=(const Attribute& other) { return *this = Attribute(other); }
  Attribute& operator=(Attribute&&) noexcept = default;
  ~Attribute() = default;

 private:
  static const variant& base(const Attribute& attribute) { return attribute; }
};
using Attributes = std::map<std::string, Attribute>;
using Tensors = std::map<std::string, Tensor>;

// real = scale * (q - zero_point)
struct Quantization {
  float scale = 1.0f;
  int32_t zero_point = 0;
  bool operator==(const Quantization&) const = default;
};

// What passes from operator to operator. u8 values have a quantization, others have none.
struct Value {
  DType dtype = DType::f32;
  std::optional<Quantization> quantization;
  Dims dims;      // as far as they are known before the sizes are
  int node = -1;  // who makes it; -1 for an input or a state of the graph; -2 for nobody, where fusion took the maker away
  int index = 0;  // which of the node's outputs, or of the graph's inputs; -1 - i for state i
  int rank() const { return static_cast<int>(dims.size()); }
};

struct Node {
  Op op{};
  std::string name;
  std::vector<int> inputs;  // -1 for an optional input that is not given, unless it is the last: those are left out
  std::vector<int> outputs;
  Attributes attributes;  // every one that the operator takes: defaults are filled in
  Tensors tensors;

  bool has(const char* attribute) const { return attributes.contains(attribute); }
  const Dims& dims(const char* attribute) const { return std::get<Dims>(attributes.at(attribute)); }
  std::vector<int64_t> integers(const char* attribute) const;                             // constants alone
  int64_t integer(const char* attribute) const { return dims(attribute).at(0).value(); }  // a constant
  const std::vector<double>& numbers(const char* attribute) const {
    return std::get<std::vector<double>>(attributes.at(attribute));
  }
  double number(const char* attribute) const { return numbers(attribute).at(0); }
  const std::string& word(const char* attribute) const { return std::get<std::string>(attributes.at(attribute)); }
  const Tensor& tensor(const char* tensor) const { return tensors.at(tensor); }
  const Tensor* find_tensor(const char* tensor) const;  // null where there is none
};

// A free size of the inputs: "batch", "height", "tokens".
struct FreeSize {
  std::string name;
  int64_t low = 0, high = INT64_MAX;  // what it may be
  int64_t hint = 0;                   // what is expected, 0 where unknown. Kernels are chosen for it; any other size works, too.
};

enum class Relation : uint8_t { equal, not_equal, less, less_equal };

// A condition that the sizes have to meet: any of `cases` holds, and a case holds where all its comparisons do.
struct Guard {
  struct Comparison {
    Dim left;
    Relation relation;
    Dim right;
  };
  std::vector<std::vector<Comparison>> cases;
  std::string message;  // one sentence for those who call with other sizes: names the input, the dim and what is allowed
};

struct Port {
  std::string name;
  int value = -1;
};

// A value that a session keeps from run to run. It begins as `initial` and is `next` after a run.
struct State {
  std::string name;
  int value = -1;  // what operators read
  int next = -1;   // what it becomes; of the same dtype and dims; -1 until set_state
  Tensor initial;  // gives dtype and (constant) shape
};

class Graph {
 public:
  // Returns the size as an expression. Names are unique and not empty.
  Dim add_size(const std::string& name, int64_t low = 0, int64_t high = INT64_MAX, int64_t hint = 0);
  // Of any dtype but u8. Every free size must be a dim of an input by itself. Returns its value.
  int add_input(const std::string& name, DType dtype, Dims dims);
  int add_state(const std::string& name, Tensor initial);  // returns its value
  void set_state(int state_value, int next);
  void add_guard(Guard guard);

  // Returns the first of the values that the node makes; the others follow it. quantizations: of each output, where it is u8 (left out: none
  // is). Throws Error (invalid_argument), naming the node, for what the operator does not allow; the graph is then as before.
  int add_node(Op op, const std::string& name, std::vector<int> inputs, Attributes attributes, Tensors tensors,
               std::vector<std::optional<Quantization>> quantizations = {});
  int add_node(const std::string& op, const std::string& name, std::vector<int> inputs, Attributes attributes, Tensors tensors,
               std::vector<std::optional<Quantization>> quantizations = {});

  // Any value but a u8 one. An input may be an output as well.
  void add_output(int value, const std::string& name);

  // Lets go of the data of a node's tensors; their types and shapes stay. For a node whose weights were packed elsewhere.
  void forget_data(size_t node);

  // Puts an equal tensor, which others hold, too, in the place of a node's own.
  void share_tensor(size_t node, const std::string& name, const Tensor& equal) { nodes_.at(node).tensors.at(name) = equal; }

  const std::vector<FreeSize>& sizes() const { return sizes_; }
  std::vector<std::string> size_names() const;
  const std::vector<Guard>& guards() const { return guards_; }
  const std::vector<Port>& inputs() const { return inputs_; }
  const std::vector<Port>& outputs() const { return outputs_; }
  const std::vector<State>& states() const { return states_; }
  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<Value>& values() const { return values_; }
  const Value& value(int index) const { return values_.at(static_cast<size_t>(index)); }

  std::map<std::string, std::string> metadata;

 private:
  friend class Fuser;  // these two rewrite nodes without asking for a second validation
  friend class LayoutPass;

  std::vector<FreeSize> sizes_;
  std::vector<Guard> guards_;
  std::vector<Port> inputs_, outputs_;
  std::vector<State> states_;
  std::vector<Node> nodes_;
  std::vector<Value> values_;
};

bool has_bytes(const Graph& graph);  // whether a value is a plain integer of eight bits

}  // namespace niwaki
