#include "runtime/states.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/status.h"

namespace niwaki {
namespace {

std::string text(const std::vector<int64_t>& shape) {
  std::string result = "[";
  for (size_t i = 0; i < shape.size(); ++i) result += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return result + "]";
}

}  // namespace

States::States(const Graph& graph) : graph_(&graph), pairs_(graph.states().size()) {
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const auto room = static_cast<size_t>(bytes(i)) + kCacheLine;  // never nothing
    pairs_[i] = {Buffer(room), Buffer(room)};
  }
  reset();
}

void States::reset() {
  for (const State& state : graph_->states()) set(state.name, state.initial.unpacked());
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

Tensor States::get(const std::string& name) const {
  const size_t index = find(name);
  const Tensor& like = graph_->states()[index].initial;
  return Tensor::copy_of(like.dtype(), like.shape(), pairs_[index].current.data());
}

void States::set(const std::string& name, const Tensor& value) {
  const size_t index = find(name);
  const Tensor& like = graph_->states()[index].initial;
  if (value.dtype() != like.dtype() || value.shape() != like.shape())
    throw Error(Status::invalid_argument, "State '" + name + "' is " + dtype_name(like.dtype()) + " " + text(like.shape()) +
                                              ", not " + dtype_name(value.dtype()) + " " + text(value.shape()) + ".");
  if (bytes(index) > 0) std::memcpy(current(index), value.data(), static_cast<size_t>(bytes(index)));
}

}  // namespace niwaki
