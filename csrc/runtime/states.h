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

  size_t size() const { return pairs_.size(); }
  uint8_t* current(size_t index) { return pairs_[index].current.data(); }
  uint8_t* next(size_t index) { return pairs_[index].next.data(); }
  int64_t bytes(size_t index) const { return graph_->states()[index].initial.bytes(); }

  // Throws Error for an unknown name.
  size_t find(const std::string& name) const;

 private:
  struct Pair {
    Buffer current, next;
  };
  const Graph* graph_;
  std::vector<Pair> pairs_;
};

}  // namespace niwaki
