// How stream() goes through a graph. One class in several files, a family of operators each.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "graph/shapes.h"
#include "graph/stream/stream.h"

namespace niwaki {

// What a value of the graph has become.
struct Flow {
  enum class Kind : uint8_t {
    fixed,    // the same in every run
    flowing,  // pieces of what it was
    latest,   // what it would be if the signal ended with this piece
  };
  Kind kind = Kind::fixed;
  int value = -1;  // of the graph that is made
  // Of a flowing one: its axis along time, and that axis' elements in each piece. Those of piece p are p * count + ahead and what follows: where
  // the signal is padded in front, elements are there before their time. `before`: what those before the first piece are, where they are
  // known to be the same number (of uint8: q).
  size_t axis = 0;
  int64_t count = 0, ahead = 0;
  std::optional<double> before = std::nullopt;

  bool flows() const { return kind == Kind::flowing; }
};

// A window that slides along time.
struct TimeWindow {
  int64_t extent, stride, padding;  // padding: in front
  double pad = 0.0;                 // what the padding is (of uint8: q)
};

class Streamer {
 public:
  Streamer(const Graph& graph, const StreamOptions& options);
  Graph run();

 private:
  // The graph for a signal of some pieces.
  struct Probe {
    int64_t pieces;
    Inferred inferred;
  };

  // streamer.cc
  void check_options() const;
  Sizes sizes_of(int64_t pieces) const;  // the free sizes for a signal of so many
  Probe probe(int64_t pieces) const;
  void find_probes();
  void check_endless() const;
  std::vector<bool> needed_nodes() const;
  void add_inputs();
  void add_outputs();
  void add(size_t index);
  void check(const Node& node);
  [[noreturn]] void refuse(const Node& node, const std::string& why) const;
  const Sizes& shape(int value, size_t probe = 0) const { return probes_[probe].inferred.shapes[static_cast<size_t>(value)]; }
  std::optional<size_t> time_axis(int value) const;  // the one that grows with the signal; the rank where there are two
  int64_t growth(int value, size_t axis) const;      // elements for each piece; -1 where that differs
  const Attributes& attributes(const Node& node, size_t probe = 0) const;
  bool attributes_vary(const Node& node) const;
  std::vector<int64_t> integers(const Node& node, const char* name, size_t probe = 0) const;
  int64_t integer(const Node& node, const char* name) const { return integers(node, name).at(0); }
  // Whether a number of a probe is that of each.
  template <typename Number>
  bool constant(const Number& of) const {
    for (size_t i = 1; i < probes_.size(); ++i)
      if (of(i) != of(0)) return false;
    return true;
  }
  Flow& flow(int value) { return flows_[static_cast<size_t>(value)]; }
  const Flow& flow(int value) const { return flows_[static_cast<size_t>(value)]; }
  // Adds the node with these inputs (of the new graph), and returns its first value there.
  int copy(const Node& node, std::vector<int> inputs, Attributes with);
  int copy(const Node& node, std::vector<int> inputs) { return copy(node, std::move(inputs), attributes(node)); }
  std::vector<int> inputs_of(const Node& node) const;
  // All outputs alike.
  void set_outputs(const Node& node, int first, Flow like);

  // context.cc
  int cut(const std::string& name, int value, size_t axis, int64_t begin, int64_t end, int64_t step = 1);
  int join(const std::string& name, int a, int b, size_t axis);
  int add_state(const Node& node, const std::string& what, Tensor initial);
  // The `count` elements before a piece, and the piece. padding: what elements before the signal are.
  int with_context(const Node& node, const Flow& in, int64_t count, double padding);
  Flow delayed(const Node& node, const Flow& in, int64_t ahead);  // to no more than so many elements before their time
  std::vector<Flow> aligned(const Node& node);                    // inputs, all that flow as far ahead
  std::optional<double> uniform(int value) const;    // the number that all elements of a fixed value are, where known
  bool is_from_input(int value) const;               // whether the caller decides what it is
  bool holds_only_moved(int made, int value) const;  // whether `made` is `value`, moved, perhaps beside others

  // windows.cc
  void window(const Node& node);
  void transposed(const Node& node);  // a convolution
  void unfold(const Node& node);
  void slide(const Node& node, const TimeWindow& window, size_t out_axis, Attributes with);
  void recurrent(const Node& node);
  void running(const Node& node);  // cumsum, cumprod

  // moves.cc
  void pad(const Node& node);
  void slice(const Node& node);
  void concat(const Node& node);
  void reshape(const Node& node);
  void expand(const Node& node);
  void permute(const Node& node);
  void upsample(const Node& node);
  void take(const Node& node);

  // rules.cc
  void flowing(const Node& node);
  void elementwise(const Node& node);
  void pass(const Node& node, std::optional<size_t> out_axis = std::nullopt);  // as it is: each element of time by itself
  void not_along(const Node& node, std::vector<int64_t> axes, bool removes);   // an operator over these axes
  void product(const Node& node);                                              // linear, dynamic_linear
  void matmul(const Node& node);
  std::optional<double> before_of(const Node& node, const Flow& in) const;

  const Graph& graph_;
  const StreamOptions& options_;
  size_t size_ = 0;              // which free size
  std::array<Probe, 4> probes_;  // the last one far longer than the others
  Graph made_;
  std::vector<Flow> flows_;
};

}  // namespace niwaki
