// The graph section of versions 3 to 6; docs/file-format.md has it in words.
#include "file/graph_reader.h"

#include <algorithm>
#include <string>
#include <utility>

#include "file/expressions.h"
#include "file/format.h"
#include "file/graph_parts.h"
#include "graph/repeats.h"

namespace niwaki {
namespace {

// In memory, with room for vectors that hold their old and their new memory while they grow.
constexpr uint64_t kPortBytes = 3 * (sizeof(Port) + sizeof(Value)), kSizeBytes = 3 * sizeof(FreeSize) + 64;
constexpr uint64_t kStateBytes = 3 * (sizeof(State) + sizeof(Value) + sizeof(Tensor)) + 64 * kMaxRank;
constexpr uint64_t kGuardBytes = 3 * sizeof(Guard), kCaseBytes = 3 * sizeof(std::vector<Guard::Comparison>);

class GraphReader {
 public:
  GraphReader(WordReader& in, TensorShelf& shelf) : in_(in), shelf_(shelf) {}

  Graph read() {
    graph_.metadata = read_metadata(in_);
    for (uint32_t left = in_.count(); left > 0; --left) read_size();
    for (uint32_t left = in_.count(); left > 0; --left) read_input();
    for (uint32_t left = in_.count(); left > 0; --left) read_state();
    for (uint32_t left = in_.count(); left > 0; --left) read_guard();
    for (uint32_t left = in_.count(); left > 0; --left) read_node();
    for (size_t i = 0; i < next_.size(); ++i) graph_.set_state(graph_.states()[i].value, next_[i]);
    for (uint32_t left = in_.count(); left > 0; --left) read_output();
    return std::move(graph_);
  }

 private:
  // Numbers beyond int become its largest, which the graph refuses.
  int read_value() { return static_cast<int>(std::min<uint32_t>(in_.count(), 0x7fffffffu)); }

  int64_t read_natural() {
    const uint64_t value = in_.natural();
    if (value > static_cast<uint64_t>(INT64_MAX)) in_.refuse("a size above 2^63 - 1");
    return static_cast<int64_t>(value);
  }

  Dim read_dim() { return read_expression(in_, graph_.sizes().size()); }

  void read_size() {
    in_.charge(kSizeBytes);
    const std::string name = in_.string();
    const int64_t low = read_natural(), high = read_natural();
    graph_.add_size(name, low, high, read_natural());
  }

  void read_input() {
    in_.charge(kPortBytes);
    const std::string name = in_.string();
    const auto dtype = in_.number<uint8_t>();
    if (dtype > static_cast<uint8_t>(DType::byte)) in_.refuse("the type of input '" + name + "'");
    Dims dims(in_.count_up_to(kMaxRank));
    in_.charge(3 * dims.size() * sizeof(Dim));
    for (Dim& dim : dims) dim = read_dim();
    graph_.add_input(name, static_cast<DType>(dtype), std::move(dims));
  }

  // The value that a state becomes is made by a node that comes later.
  void read_state() {
    in_.charge(kStateBytes);
    const std::string name = in_.string();
    graph_.add_state(name, shelf_.take_for_state());
    next_.push_back(read_value());
  }

  void read_guard() {
    in_.charge(kGuardBytes);
    Guard guard;
    guard.message = in_.string();
    for (uint32_t left = in_.count(); left > 0; --left) {
      in_.charge(kCaseBytes);
      auto& comparisons = guard.cases.emplace_back();
      for (uint32_t more = in_.count(); more > 0; --more) {
        in_.charge(3 * sizeof(Guard::Comparison));
        const Dim left_side = read_dim();
        const auto relation = in_.number<uint8_t>();
        if (relation > static_cast<uint8_t>(Relation::less_equal)) in_.refuse("the relation of a guard");
        comparisons.push_back({left_side, static_cast<Relation>(relation), read_dim()});
      }
    }
    graph_.add_guard(std::move(guard));
  }

  Attribute read_attribute() {
    switch (in_.number<uint8_t>()) {
      case 0: return read_dims([&] { return Dim(in_.integer()); });
      case 1: return read_dims([&] { return read_dim(); });
      case 2: {
        std::vector<double> numbers(in_.count_up_to(kMostIntegers));
        in_.charge(numbers.size() * sizeof(double));
        for (double& number : numbers) number = in_.number<double>();
        return numbers;
      }
      case 3: return in_.string();
      default: in_.refuse("the kind of an attribute");
    }
  }

  template <typename Read>
  Dims read_dims(const Read& read_one) {
    Dims dims(in_.count_up_to(kMostIntegers));
    in_.charge(dims.size() * sizeof(Dim));
    for (Dim& dim : dims) dim = read_one();
    return dims;
  }

  Attributes read_attributes() {
    Attributes attributes;
    for (uint32_t left = in_.count_up_to(kMostNamed); left > 0; --left) {
      std::string key = read_key(in_, attributes);
      attributes.emplace(std::move(key), read_attribute());
    }
    return attributes;
  }

  std::optional<Quantization> read_quantization(const std::string& name) {
    const auto quantized = in_.number<uint8_t>();
    if (quantized > 1) in_.refuse("an output of " + name);
    if (quantized == 0) return std::nullopt;
    const auto scale = in_.number<float>();
    return Quantization{scale, in_.number<uint8_t>()};
  }

  void read_node() {
    const std::string op = in_.string(), name = in_.string();
    std::vector<int> inputs;
    for (uint32_t left = in_.count_up_to(kMostInputs); left > 0; --left) {
      in_.charge(3 * sizeof(int));
      inputs.push_back(read_value() - 1);  // 0: one that is not given
    }
    Attributes attributes = read_attributes();
    TensorShelf::Repeated repeated;
    Tensors tensors = shelf_.take_for_node(graph_.nodes().size(), &repeated);
    std::vector<std::optional<Quantization>> outputs;
    for (uint32_t left = in_.count_up_to(kMostOutputs); left > 0; --left) outputs.push_back(read_quantization(name));
    const size_t stated = outputs.size();
    graph_.add_node(op, name, std::move(inputs), std::move(attributes), std::move(tensors), std::move(outputs));
    if (const size_t made = graph_.nodes().back().outputs.size(); made != stated)
      in_.refuse(name + " has " + std::to_string(stated) + " outputs where it makes " + std::to_string(made));
    if (repeated.tensors > 0) check_repeated(graph_.nodes().back(), graph_.nodes()[repeated.node], repeated.tensors);
    charge_node(in_, graph_);
  }

  // Of any other node they would be packed once more.
  void check_repeated(const Node& node, const Node& earlier, size_t tensors) {
    if (!repeats(node, earlier) && !(tensors == 1 && shares_weight(node, earlier)))
      in_.refuse(node.name + " has tensors of " + earlier.name + ", and is not the same layer");
  }

  void read_output() {
    in_.charge(kPortBytes);
    const int value = read_value();
    graph_.add_output(value, in_.string());
  }

  WordReader& in_;
  TensorShelf& shelf_;
  Graph graph_;
  std::vector<int> next_;  // of each state
};

}  // namespace

std::vector<Entry> read_graphs(WordReader& in, uint32_t version, std::vector<Tensor> tensors, std::vector<TensorRows>* rows) {
  TensorShelf shelf(in, std::move(tensors), rows, version >= format::kRepeatsVersion);
  in.read_strings();
  std::vector<Entry> entries;
  const bool named = version >= format::kEntriesVersion;
  const uint32_t count = named ? in.count_up_to(kMostEntries) : 1;
  for (uint32_t i = 0; i < count; ++i) {
    in.charge(3 * sizeof(Entry));
    shelf.begin_entry(i + 1 == count);
    std::string name = named ? in.string() : std::string();
    if (named && name.empty() && (version < format::kRepeatsVersion || count > 1)) in.refuse("an entry point has no name");
    entries.push_back({std::move(name), version < 3 ? read_old_graph(in, version, shelf) : GraphReader(in, shelf).read()});
    if (version < format::kBytesVersion && has_bytes(entries.back().graph)) in.refuse("values of eight bits");
  }
  check_entries(entries);
  in.expect_end();
  shelf.expect_all_taken();
  return entries;
}

}  // namespace niwaki
