// What the readers of all versions of the graph section share.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "file/graph_reader.h"
#include "file/words.h"
#include "graph/graph.h"

namespace niwaki {

// Operators take fewer, and say so. These only keep a list from filling the memory before that.
inline constexpr uint32_t kMostInputs = 1 << 16, kMostNamed = 64, kMostIntegers = 64, kMostOutputs = 16;

inline constexpr uint64_t kEntryBytes = 256;                        // of a map, in memory
inline constexpr uint64_t kTensorBytes = 3 * sizeof(Tensor) + 576;  // without its data

// A name that this map does not have yet, and room for what comes under it.
template <typename Map>
std::string read_key(WordReader& in, const Map& map) {
  in.charge(kEntryBytes);
  std::string key = in.string();
  if (map.contains(key)) in.refuse("'" + key + "' is given twice");
  return key;
}

inline std::map<std::string, std::string> read_metadata(WordReader& in) {
  std::map<std::string, std::string> metadata;
  for (uint32_t left = in.count(); left > 0; --left) {
    std::string key = read_key(in, metadata);
    metadata[std::move(key)] = in.string();
  }
  return metadata;
}

// What the graph made of the last node beyond what the file says of it: attributes that were left out, values with their dims.
void charge_node(WordReader& in, const Graph& graph);

// The tensors of a file, each of which belongs to one node or state of an entry: one that several used would be packed for each of them, and
// a small file could fill any memory. Entries may have tensors in common, and from version 5 on nodes that are calls of one layer, which is packed once, or have the
// weight of one.
class TensorShelf {
 public:
  static constexpr size_t kNone = SIZE_MAX;

  // `rows`: gets the rows of each entry; null where nobody asks.
  // `repeated`: nodes may have the tensors of others.
  TensorShelf(WordReader& in, std::vector<Tensor> tensors, std::vector<TensorRows>* rows, bool repeated)
      : in_(in),
        tensors_(std::move(tensors)),
        last_(tensors_.size(), 0),
        node_(repeated ? tensors_.size() : 0, kNone),
        rows_(rows) {}

  void begin_entry(bool last);
  Tensor take_for_state();
  // repeated: where to say of which earlier node it has tensors, and how many; the caller has to see that it may. Null where it may have none.
  struct Repeated {
    size_t node = kNone, tensors = 0;
  };
  Tensors take_for_node(size_t node = kNone, Repeated* repeated = nullptr);
  void expect_all_taken() const;

 private:
  uint32_t take_index(size_t node, Repeated* repeated);
  Tensor take(uint32_t index);

  WordReader& in_;
  std::vector<Tensor> tensors_;
  std::vector<uint32_t> last_;  // for each tensor the entry that took it last, counted from 1; 0: none
  std::vector<size_t> node_;    // for each tensor the first node of that entry that took it; empty before version 5
  uint32_t entry_ = 0;
  bool is_last_ = false;
  std::vector<TensorRows>* rows_;
};

// Versions 1 and 2: images and vectors alone, translated into today's graph.
Graph read_old_graph(WordReader& in, uint32_t version, TensorShelf& shelf);

}  // namespace niwaki
