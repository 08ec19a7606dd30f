#include "file/graph_writer.h"

#include <algorithm>

#include "base/status.h"
#include "file/expressions.h"
#include "file/format.h"
#include "file/words.h"
#include "graph/operators.h"
#include "graph/repeats.h"

namespace niwaki {
namespace {

// The numbers that stand in files.
static_assert(static_cast<int>(Relation::equal) == 0 && static_cast<int>(Relation::not_equal) == 1 &&
              static_cast<int>(Relation::less) == 2 && static_cast<int>(Relation::less_equal) == 3);
static_assert(static_cast<int>(DType::u8) == 0 && static_cast<int>(DType::i8) == 1 && static_cast<int>(DType::i32) == 2 &&
              static_cast<int>(DType::f32) == 3 && static_cast<int>(DType::i64) == 4 && static_cast<int>(DType::boolean) == 5 &&
              static_cast<int>(DType::byte) == 6);

// The rows of the tensor table. An entry has a row for each of its tensors; other entries may have the same.
class Rows {
 public:
  explicit Rows(std::vector<Tensor>& tensors) : tensors_(tensors) {}

  void begin_entry() { ++entry_; }

  // shared: nodes of one entry may have it in common.
  uint64_t row_of(const Tensor& tensor, bool shared = false) {
    for (size_t i = 0; shared && i < tensors_.size(); ++i)
      if (last_[i] == entry_ && tensors_[i].is_same(tensor)) return i;
    for (size_t i = 0; i < before_; ++i)
      if (last_[i] != entry_ && tensors_[i].is_same(tensor)) return last_[i] = entry_, i;
    tensors_.push_back(tensor);
    last_.push_back(entry_);
    return tensors_.size() - 1;
  }

  void end_entry() { before_ = tensors_.size(); }

 private:
  std::vector<Tensor>& tensors_;
  std::vector<uint32_t> last_;  // for each row, the entry that has it
  size_t before_ = 0;           // rows of the entries before this one
  uint32_t entry_ = 0;
};

class GraphWriter {
 public:
  GraphWriter(const Graph& graph, Rows& rows, WordWriter& out)
      : graph_(graph), rows_(rows), out_(out), first_(first_calls(graph)), node_rows_(first_.size()) {
    number_values();
  }

  void write() {
    write_list(graph_.metadata, [&](const auto& entry) { out_.string(entry.first), out_.string(entry.second); });
    write_list(graph_.sizes(), [&](const FreeSize& size) { write_size(size); });
    write_list(graph_.inputs(), [&](const Port& port) { write_input(port); });
    write_list(graph_.states(), [&](const State& state) { write_state(state); });
    write_list(graph_.guards(), [&](const Guard& guard) { write_guard(guard); });
    write_list(graph_.nodes(), [&](const Node& node) { write_node(node); });
    write_list(graph_.outputs(), [&](const Port& port) { out_.natural(number_of(port.value)), out_.string(port.name); });
  }

 private:
  // Values are numbered anew: the inputs first, then the states, then what the nodes make.
  void number_values() {
    numbers_.resize(graph_.values().size());
    uint64_t next = 0;
    const auto number = [&](int value) { numbers_[static_cast<size_t>(value)] = next++; };
    for (const Port& port : graph_.inputs()) number(port.value);
    for (const State& state : graph_.states()) number(state.value);
    for (const Node& node : graph_.nodes())
      for (const int output : node.outputs) number(output);
  }

  uint64_t number_of(int value) const { return numbers_[static_cast<size_t>(value)]; }

  template <typename List, typename Write>
  void write_list(const List& list, const Write& write_one) {
    out_.natural(list.size());
    for (const auto& one : list) write_one(one);
  }

  void write_dim(const Dim& dim) { write_expression(dim, out_); }

  void write_size(const FreeSize& size) {
    out_.string(size.name);
    for (const int64_t number : {size.low, size.high, size.hint}) out_.natural(static_cast<uint64_t>(number));
  }

  void write_input(const Port& port) {
    const Value& value = graph_.value(port.value);
    out_.string(port.name);
    out_.number(static_cast<uint8_t>(value.dtype));
    write_list(value.dims, [&](const Dim& dim) { write_dim(dim); });
  }

  void write_state(const State& state) {
    if (state.next < 0)
      throw Error(Status::invalid_argument,
                  "State '" + state.name + "': what it becomes was never said; set it before the network is saved.");
    out_.string(state.name);
    out_.natural(rows_.row_of(state.initial));
    out_.natural(number_of(state.next));
  }

  void write_guard(const Guard& guard) {
    out_.string(guard.message);
    write_list(guard.cases, [&](const auto& comparisons) {
      write_list(comparisons, [&](const Guard::Comparison& comparison) {
        write_dim(comparison.left);
        out_.number(static_cast<uint8_t>(comparison.relation));
        write_dim(comparison.right);
      });
    });
  }

  void write_attribute(const Attribute& attribute) {
    if (const auto* dims = std::get_if<Dims>(&attribute)) {
      const bool constants = std::all_of(dims->begin(), dims->end(), [](const Dim& dim) { return dim.is_constant(); });
      out_.number(static_cast<uint8_t>(constants ? 0 : 1));
      write_list(*dims, [&](const Dim& dim) { constants ? out_.integer(dim.value()) : write_dim(dim); });
    } else if (const auto* numbers = std::get_if<std::vector<double>>(&attribute)) {
      out_.number(uint8_t{2});
      write_list(*numbers, [&](double number) { out_.number(number); });
    } else {
      out_.number(uint8_t{3});
      out_.string(std::get<std::string>(attribute));
    }
  }

  void write_node(const Node& node) {
    out_.string(op_name(node.op));
    out_.string(node.name);
    write_list(node.inputs, [&](int input) { out_.natural(input < 0 ? 0 : number_of(input) + 1); });
    write_list(node.attributes, [&](const auto& entry) { out_.string(entry.first), write_attribute(entry.second); });
    const size_t number = next_node_++, first = first_[number];
    if (first == number)
      for (const auto& [name, tensor] : node.tensors)
        node_rows_[number].push_back(rows_.row_of(tensor, name == "weight" && may_share_weight(node)));
    const uint64_t* row = node_rows_[first].data();
    write_list(node.tensors, [&](const auto& entry) { out_.string(entry.first), out_.natural(*row++); });
    write_list(node.outputs, [&](int output) {
      const auto& quantization = graph_.value(output).quantization;
      out_.number(static_cast<uint8_t>(quantization.has_value()));
      if (!quantization) return;
      out_.number(quantization->scale);
      out_.number(static_cast<uint8_t>(quantization->zero_point));
    });
  }

  const Graph& graph_;
  Rows& rows_;
  WordWriter& out_;
  std::vector<uint64_t> numbers_;
  std::vector<size_t> first_;                     // for each node, the one whose layer it calls
  std::vector<std::vector<uint64_t>> node_rows_;  // of each node that is the first one, for its tensors in their order
  size_t next_node_ = 0;
};

}  // namespace

GraphSection write_graphs(std::span<const Entry> entries, std::vector<Tensor>& tensors) {
  check_entries(entries);
  Rows rows(tensors);
  WordWriter out;
  const bool repeated = std::any_of(entries.begin(), entries.end(), [](const Entry& entry) { return has_repeats(entry.graph); });
  const bool bytes = std::any_of(entries.begin(), entries.end(), [](const Entry& entry) { return has_bytes(entry.graph); });
  const bool named = repeated || bytes || !entries[0].name.empty();
  if (named) out.natural(entries.size());
  for (const Entry& entry : entries) {
    if (named) out.string(entry.name);
    rows.begin_entry();
    GraphWriter(entry.graph, rows, out).write();
    rows.end_entry();
  }
  return {bytes      ? format::kBytesVersion
          : repeated ? format::kRepeatsVersion
          : named    ? format::kEntriesVersion
                     : format::kVersion,
          out.take_with_strings()};
}

}  // namespace niwaki
