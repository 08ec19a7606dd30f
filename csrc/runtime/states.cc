#include "runtime/states.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/status.h"
#include "kernels/layout.h"

namespace niwaki {

States::States(const Graph& graph) : graph_(&graph), pairs_(graph.states().size()) {
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const auto room = static_cast<size_t>(bytes(i)) + kCacheLine;  // never nothing
    pairs_[i] = {Buffer(room), Buffer(room)};
  }
  reset();
}

void States::reset() {
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const Tensor initial = graph_->states()[i].initial.unpacked();
    if (bytes(i) > 0) std::memcpy(current(i), initial.data(), static_cast<size_t>(bytes(i)));
  }
}

void States::commit() {
  for (size_t i = 0; i < pairs_.size(); ++i)
    if (graph_->states()[i].next >= 0) std::swap(pairs_[i].current, pairs_[i].next);
}

size_t States::find(const std::string& name) const {
  const auto& states = graph_->states();
  const auto found = std::find_if(states.begin(), states.end(), [&](const State& state) { return state.name == name; });
  if (found == states.end()) throw Error(Status::invalid_argument, "The network has no state '" + name + "'.");
  return static_cast<size_t>(found - states.begin());
}

}  // namespace niwaki
