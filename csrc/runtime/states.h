// What a session keeps from run to run.
#pragma once

#include <string>
#include <vector>

#include "base/memory.h"
#include "graph/graph.h"

namespace niwaki {

// Each state has two buffers: runs read one and write the other, and they change places when a run has ended well.
class States {
 public:
  explicit States(const Graph& graph);  // `graph` is kept

  void reset();   // all as they begin
  void commit();  // what the last run wrote is what the next one reads

  uint8_t* current(size_t index) { return pairs_[index].current.data(); }
  uint8_t* next(size_t index) { return pairs_[index].next.data(); }

  // Throw Error for an unknown name, and for a tensor of another type or shape.
  Tensor get(const std::string& name) const;
  void set(const std::string& name, const Tensor& value);

 private:
  int64_t bytes(size_t index) const { return graph_->states()[index].initial.bytes(); }
  size_t find(const std::string& name) const;

  struct Pair {
    Buffer current, next;
  };
  const Graph* graph_;
  std::vector<Pair> pairs_;
};

}  // namespace niwaki
