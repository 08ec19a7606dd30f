#include "graph/shapes.h"

#include <algorithm>
#include <limits>
#include <string>

#include "base/status.h"
#include "graph/check_node.h"
#include "graph/heads.h"
#include "graph/operators.h"
#include "graph/phases.h"

namespace niwaki {
namespace {

constexpr int64_t kInt32 = std::numeric_limits<int32_t>::max();
// Sizes of 0 count as 1: a value without elements has steps along its axes, too.
constexpr int64_t kMaxElements = int64_t{1} << 40;
constexpr int64_t kMaxChannels = kInt32 - 8;  // so that kernels may round them up

std::string text(int64_t value) { return std::to_string(value); }

std::string text(const Sizes& sizes) {
  std::string out = "[";
  for (size_t i = 0; i < sizes.size(); ++i) out += (i > 0 ? ", " : "") + text(sizes[i]);
  return out + "]";
}

[[noreturn]] void fail(const std::string& message) { throw Error(Status::invalid_argument, message); }

// What a free size may be: "from 1 to 8".
std::string range_of(const FreeSize& size) {
  const int64_t high = std::min(size.high, kInt32);
  return size.low == high ? text(high) : "from " + text(size.low) + " to " + (high == kInt32 ? "2^31 - 1" : text(high));
}

// Binds the free sizes to those of the inputs.
class Binder {
 public:
  Binder(const Graph& graph, std::span<const Sizes> inputs)
      : graph_(graph), inputs_(inputs), names_(graph.size_names()), sizes_(names_.size(), -1), first_(names_.size(), 0) {}

  Sizes bind() {
    if (inputs_.size() != graph_.inputs().size())
      fail("The network takes " + text(static_cast<int64_t>(graph_.inputs().size())) + " inputs, not " +
           text(static_cast<int64_t>(inputs_.size())) + ".");
    for (size_t i = 0; i < inputs_.size(); ++i) take_sizes(i);
    for (size_t k = 0; k < sizes_.size(); ++k)
      if (sizes_[k] < 0) fail("The free size '" + names_[k] + "' is the size of no input.");
    for (size_t i = 0; i < inputs_.size(); ++i) check_rest(i);
    for (const Guard& guard : graph_.guards())
      if (!holds(guard, sizes_)) fail(guard.message);
    return std::move(sizes_);
  }

 private:
  const Dims& dims(size_t input) const { return graph_.value(graph_.inputs()[input].value).dims; }

  [[noreturn]] void refuse(size_t input, const std::string& why) const {
    std::string wanted;
    for (const Dim& dim : dims(input)) wanted += (wanted.empty() ? "" : ", ") + dim.text(names_);
    fail("Input '" + graph_.inputs()[input].name + "' must have the shape [" + wanted + "], not " + text(inputs_[input]) + ": " +
         why + ".");
  }

  // "dim 2 (height) must be "
  std::string must_be(size_t axis, const Dim& dim) const {
    return "dim " + std::to_string(axis) + (dim.is_constant() ? "" : " (" + dim.text(names_) + ")") + " must be ";
  }

  // Dims that are free sizes by themselves.
  void take_sizes(size_t input) {
    const Dims& wanted = dims(input);
    const Sizes& given = inputs_[input];
    if (given.size() != wanted.size()) refuse(input, "it has " + std::to_string(given.size()) + " dims");
    for (size_t axis = 0; axis < wanted.size(); ++axis) {
      if (given[axis] < 0 || given[axis] > kInt32) refuse(input, must_be(axis, wanted[axis]) + "from 0 to 2^31 - 1");
      if (wanted[axis].kind() != Dim::Kind::size) continue;
      const auto k = static_cast<size_t>(wanted[axis].value());
      const FreeSize& size = graph_.sizes()[k];
      if (given[axis] < size.low || given[axis] > size.high) refuse(input, must_be(axis, wanted[axis]) + range_of(size));
      if (sizes_[k] >= 0 && sizes_[k] != given[axis])
        refuse(input,
               must_be(axis, wanted[axis]) + text(sizes_[k]) + ", as it is in input '" + graph_.inputs()[first_[k]].name + "'");
      if (sizes_[k] < 0) first_[k] = input;
      sizes_[k] = given[axis];
    }
  }

  void check_rest(size_t input) const {
    const Dims& wanted = dims(input);
    for (size_t axis = 0; axis < wanted.size(); ++axis) {
      try {
        const int64_t size = wanted[axis].evaluate(sizes_);
        if (size != inputs_[input][axis]) refuse(input, must_be(axis, wanted[axis]) + text(size));
      } catch (const DimError& error) {
        refuse(input, must_be(axis, wanted[axis]) + "a number, but " + error.what());
      }
    }
  }

  const Graph& graph_;
  std::span<const Sizes> inputs_;
  std::vector<std::string> names_;
  Sizes sizes_;
  std::vector<size_t> first_;  // the input that gave each free size
};

// The node's attributes, with numbers in place of expressions.
const Attributes* numbers_of(const Node& node, Inferred& inferred) {
  Attributes* replaced = nullptr;
  for (const AttributeRule& rule : operator_rule(node.op).attributes) {
    if (rule.kind != AttributeKind::expressions) continue;
    const Dims& dims = std::get<Dims>(node.attributes.at(rule.name));
    for (size_t i = 0; i < dims.size(); ++i) {
      if (dims[i].is_constant()) continue;
      if (replaced == nullptr) replaced = &inferred.replaced.emplace_back(node.attributes);
      Dim& dim = std::get<Dims>(replaced->at(rule.name))[i];
      try {
        dim = dim.evaluate(inferred.sizes);
      } catch (const DimError& error) {
        refuse(node, std::string("attribute '") + rule.name + "' is no number for these inputs: " + error.what() + ".");
      }
      check_range(node, rule, dim, true);
    }
  }
  return replaced != nullptr ? replaced : &node.attributes;
}

// The grouped axis is the compiler's business: any of more than one element, the second and the last.
void check_planes(const Node& node, const Sizes& shape, int64_t elements) {
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    if (shape[axis] == 0 || (shape[axis] == 1 && axis != 1 && axis + 1 != shape.size())) continue;
    if (elements / shape[axis] > kInt32 || shape[axis] > kMaxChannels)
      refuse(node, "its output " + text(shape) +
                       " is too large: a uint8 value may have 2^31 - 1 elements for each index of an axis, and 2^31 - 9 of "
                       "those. Use smaller batches.");
  }
}

Sizes checked_shape(const Node& node, const Operand& made) {
  Sizes shape;
  int64_t elements = 1;
  for (const Dim& dim : made.dims) {
    if (!dim.is_constant()) throw Error(Status::internal, describe(node) + ": its shape does not follow from its inputs.");
    shape.push_back(dim.value());
  }
  for (const int64_t size : shape) {
    if (size < 0) refuse(node, "makes a value of shape " + text(shape) + "; sizes cannot be negative.");
    const int64_t counted = std::max<int64_t>(size, 1);
    const bool fits = size <= kInt32 && elements <= kMaxElements / counted;
    if (!fits)
      refuse(node, "its output " + text(shape) + " is too large: 2^31 - 1 elements along an axis and 2^40 in all are the most.");
    elements *= counted;
  }
  if (made.dtype == DType::u8) check_planes(node, shape, elements);
  return shape;
}

Operand operand_of(const Value& value, const Sizes& shape) { return {value.dtype, Dims(shape.begin(), shape.end())}; }

void infer_node(const Graph& graph, const Node& node, const std::vector<std::string>& names, Inferred& inferred) {
  inferred.attributes.push_back(numbers_of(node, inferred));
  std::vector<std::optional<Operand>> in;
  std::vector<std::optional<Quantization>> in_quantizations, quantizations;
  for (const int index : node.inputs) {
    in.emplace_back();
    in_quantizations.emplace_back();
    if (index < 0) continue;
    in.back() = operand_of(graph.value(index), inferred.shapes[static_cast<size_t>(index)]);
    in_quantizations.back() = graph.value(index).quantization;
  }
  for (const int index : node.outputs) quantizations.push_back(graph.value(index).quantization);
  const Inference inference{node, *inferred.attributes.back(), in, in_quantizations, quantizations, names};
  try {
    const std::vector<Operand> made = operator_rule(node.op).infer(inference);
    for (size_t i = 0; i < made.size(); ++i) inferred.shapes[static_cast<size_t>(node.outputs[i])] = checked_shape(node, made[i]);
  } catch (const DimError& error) {
    refuse(node, error.what() + std::string("."));
  }
}

}  // namespace

int64_t elements_of(const Sizes& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

bool holds(const Guard& guard, std::span<const int64_t> sizes) {
  const auto holds_one = [&](const Guard::Comparison& comparison) {
    const int64_t left = comparison.left.evaluate(sizes), right = comparison.right.evaluate(sizes);
    switch (comparison.relation) {
      case Relation::equal: return left == right;
      case Relation::not_equal: return left != right;
      case Relation::less: return left < right;
      case Relation::less_equal: return left <= right;
    }
    return false;
  };
  try {
    return std::any_of(guard.cases.begin(), guard.cases.end(),
                       [&](const auto& comparisons) { return std::all_of(comparisons.begin(), comparisons.end(), holds_one); });
  } catch (const DimError&) {
    return false;  // a size that is no number meets no condition
  }
}

Inferred infer_shapes(const Graph& graph, std::span<const Sizes> inputs) {
  Inferred inferred;
  inferred.sizes = Binder(graph, inputs).bind();
  inferred.shapes.resize(graph.values().size());
  inferred.attributes.reserve(graph.nodes().size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    int64_t elements = 1;
    for (const int64_t size : inputs[i]) {
      const int64_t counted = std::max<int64_t>(size, 1);
      if (elements > kMaxElements / counted)
        fail("Input '" + graph.inputs()[i].name + "' " + text(inputs[i]) + " is too large: 2^40 elements are the most.");
      elements *= counted;
    }
    inferred.shapes[static_cast<size_t>(graph.inputs()[i].value)] = inputs[i];
  }
  for (const State& state : graph.states()) inferred.shapes[static_cast<size_t>(state.value)] = state.initial.shape();
  const std::vector<std::string> names = graph.size_names();
  for (const Node& node : graph.nodes()) infer_node(graph, node, names, inferred);
  for (const State& state : graph.states()) {
    if (state.next < 0) continue;
    const Sizes& next = inferred.shapes[static_cast<size_t>(state.next)];
    if (next != state.initial.shape())
      fail("State '" + state.name + "' has the shape " + text(state.initial.shape()) + " and would become " + text(next) +
           " with these inputs; it must stay as it is.");
  }
  return inferred;
}

namespace {

// Follows which values have the images as axis 0, and which are the same for any number of them.
class BatchCheck {
 public:
  BatchCheck(const Graph& graph, const Inferred& inferred)
      : graph_(graph), inferred_(inferred), batched_(graph.values().size(), false) {}

  bool holds() {
    if (!graph_.states().empty() || !take_inputs()) return false;
    for (const Guard& guard : graph_.guards())
      for (const auto& comparisons : guard.cases)
        for (const auto& comparison : comparisons)
          if (names_images(comparison.left) || names_images(comparison.right)) return false;
    for (size_t i = 0; i < graph_.nodes().size(); ++i)
      if (!is_local(i)) return false;
    return std::all_of(graph_.outputs().begin(), graph_.outputs().end(),
                       [&](const Port& port) { return is_batched(port.value); });
  }

  const std::vector<bool>& batched() const { return batched_; }

 private:
  bool is_batched(int value) const { return value >= 0 && batched_[static_cast<size_t>(value)]; }

  // Every input has the same free number of images, as axis 0 and nowhere else.
  bool take_inputs() {
    for (const Port& port : graph_.inputs()) {
      const Dims& dims = graph_.value(port.value).dims;
      if (dims.empty() || dims[0].kind() != Dim::Kind::size) return false;
      const int64_t size = dims[0].value();
      if (graph_.sizes()[static_cast<size_t>(size)].low > 1) return false;
      images_of_.push_back(size);
      batched_[static_cast<size_t>(port.value)] = true;
      const int64_t count = inferred_.sizes[static_cast<size_t>(size)];
      if (images_ >= 0 && count != images_) return false;
      images_ = count;
    }
    for (const Port& port : graph_.inputs()) {
      const Dims& dims = graph_.value(port.value).dims;
      if (std::any_of(dims.begin() + 1, dims.end(), [&](const Dim& dim) { return names_images(dim); })) return false;
    }
    return images_ >= 0;
  }

  bool names_images(const Dim& dim) const {
    if (dim.kind() == Dim::Kind::size) return std::find(images_of_.begin(), images_of_.end(), dim.value()) != images_of_.end();
    if (dim.is_constant() || dim.is_unknown()) return false;
    return names_images(dim.left()) || names_images(dim.right());
  }

  // Whether an attribute follows the number of images. It may where it is the first dim of a shape, and nowhere else.
  enum class Follows : uint8_t { no, as_first_dim, otherwise };
  Follows follows(const Node& node) const {
    Follows found = Follows::no;
    for (const auto& [name, attribute] : node.attributes) {
      const auto* dims = std::get_if<Dims>(&attribute);
      for (size_t i = 0; dims != nullptr && i < dims->size(); ++i) {
        const Dim& dim = (*dims)[i];
        if (!names_images(dim)) continue;
        if (name != "shape" || i != 0 || dim.kind() != Dim::Kind::size) return Follows::otherwise;
        found = Follows::as_first_dim;
      }
    }
    return found;
  }

  bool is_local(size_t index) {
    const Node& node = graph_.nodes()[index];
    const Follows follows = this->follows(node);
    if (follows == Follows::otherwise) return false;
    std::vector<bool> batched;
    for (const int value : node.inputs) batched.push_back(is_batched(value));
    if (follows == Follows::no && std::find(batched.begin(), batched.end(), true) == batched.end())
      return true;  // the same for all
    const OperatorRule& rule = operator_rule(node.op);
    if (rule.batch_local == nullptr) return false;
    std::vector<std::optional<Operand>> in;
    for (const int value : node.inputs) {
      in.emplace_back();
      if (value >= 0) in.back() = operand_of(graph_.value(value), inferred_.shapes[static_cast<size_t>(value)]);
    }
    std::vector<Operand> out;
    for (const int value : node.outputs) {
      const Sizes& shape = inferred_.shapes[static_cast<size_t>(value)];
      if (shape.empty() || shape[0] != images_) return false;
      out.push_back(operand_of(graph_.value(value), shape));
      batched_[static_cast<size_t>(value)] = true;
    }
    const Inference inference{node, *inferred_.attributes[index], in, {}, {}, {}};
    return rule.batch_local({inference, out, batched, follows == Follows::as_first_dim});
  }

  const Graph& graph_;
  const Inferred& inferred_;
  std::vector<bool> batched_;       // of each value
  std::vector<int64_t> images_of_;  // free sizes that are numbers of images
  int64_t images_ = -1;
};

// Factors of a count, which may be larger than int64 holds: it is then the largest number.
int64_t product(std::initializer_list<int64_t> factors) {
  int64_t all = 1;
  for (const int64_t factor : factors) all = factor != 0 && all > INT64_MAX / factor ? INT64_MAX : all * factor;
  return all;
}

int64_t count_attention(const Node& node, std::span<const Sizes> in, std::span<const Sizes> out) {
  const HeadForms forms = head_forms(node);
  const Sizes q = heads_first(in[0], forms[0]), k = heads_first(in[1], forms[1]);
  const Sizes& y = out[0];
  const int64_t width = q.back() + y.back(), keys = k[k.size() - 2];
  return y.back() == 0 ? 0 : product({elements_of(y) / y.back(), keys, width});
}

int64_t count_recurrent(const Node& node, const Sizes& x) {
  int64_t weights = 0;
  for (const auto& [name, tensor] : node.tensors)
    if (tensor.shape().size() == 2) weights += tensor.elements();
  return product({x[0], x[1], weights});
}

}  // namespace

bool is_batch_local(const Graph& graph, const Inferred& inferred) { return BatchCheck(graph, inferred).holds(); }

std::optional<std::vector<bool>> batched_values(const Graph& graph, const Inferred& inferred) {
  BatchCheck check(graph, inferred);
  if (!check.holds()) return std::nullopt;
  return check.batched();
}

int64_t count_macs(const Node& node, std::span<const Sizes> in, std::span<const Sizes> out) {
  const auto positions = [](const Sizes& shape) { return shape[1] == 0 ? 0 : elements_of(shape) / shape[1]; };
  switch (node.op) {
    case Op::conv2d: return product({positions(out[0]), original_weights(node)});
    case Op::convolution:
      return product({positions(node.integer("transposed") != 0 ? in[0] : out[0]), node.tensor("weight").elements()});
    case Op::linear:
    case Op::dynamic_linear: return product({elements_of(out[0]), node.tensor("weight").shape()[1]});
    case Op::matmul: return product({elements_of(out[0]), in[0].back()});
    case Op::attention: return count_attention(node, in, out);
    case Op::recurrent: return count_recurrent(node, in[0]);
    default: return 0;
  }
}

}  // namespace niwaki
