#include "runtime/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "base/status.h"

namespace niwaki {
namespace {

std::vector<std::vector<int64_t>> sizes_of_outputs(const Graph& graph, const std::vector<Shape>& shapes) {
  std::vector<std::vector<int64_t>> sizes;
  for (const Port& port : graph.outputs()) sizes.push_back(shapes[static_cast<size_t>(port.value)].sizes());
  return sizes;
}

}  // namespace

Session::Session(std::shared_ptr<const Model> model, int threads)
    : model_(std::move(model)), pool_(threads), milliseconds_(model_->steps().size(), 0.0) {
  plan_.macs.assign(model_->steps().size(), 0);
}

std::vector<std::vector<int64_t>> Session::output_sizes(std::span<const std::vector<int64_t>> inputs) const {
  const bool planned = !sizes_.empty() && std::equal(inputs.begin(), inputs.end(), sizes_.begin(), sizes_.end());
  return sizes_of_outputs(model_->graph(), planned ? plan_.shapes : infer_shapes(model_->graph(), inputs));
}

void Session::plan(std::vector<std::vector<int64_t>> sizes) {
  Plan plan = make_plan(*model_, sizes, pool_.threads());
  if (static_cast<size_t>(plan.arena_bytes) > arena_.size()) {
    arena_ = Buffer();  // before the larger one is asked for
    sizes_.clear();
    arena_ = Buffer(static_cast<size_t>(plan.arena_bytes));
  }
  for (size_t v = 0; v < plan.planes.size(); ++v)
    if (plan.offsets[v] >= 0) plan.planes[v].data = arena_.data() + plan.offsets[v];
  plan_ = std::move(plan);
  sizes_ = std::move(sizes);
}

void Session::run(std::span<const Input> inputs, std::span<float* const> outputs) {
  if (running_.exchange(true, std::memory_order_acquire))
    throw Error(Status::unsupported, "This session is running in another thread; give each thread a session of its own.");
  struct Release {
    std::atomic<bool>& running;
    ~Release() { running.store(false, std::memory_order_release); }
  } release{running_};
  run_steps(inputs, outputs);
}

void Session::run_steps(std::span<const Input> inputs, std::span<float* const> outputs) {
  const Graph& graph = model_->graph();
  if (outputs.size() != graph.outputs().size())
    throw Error(Status::invalid_argument, "The network has " + std::to_string(graph.outputs().size()) + " outputs, not " +
                                              std::to_string(outputs.size()) + ".");
  bool same = !sizes_.empty() && inputs.size() == sizes_.size();
  for (size_t i = 0; same && i < inputs.size(); ++i) same = inputs[i].sizes == sizes_[i];
  if (!same) {
    std::vector<std::vector<int64_t>> sizes;
    for (const Input& input : inputs) sizes.push_back(input.sizes);
    plan(std::move(sizes));
  }

  std::vector<const float*> sources(plan_.shapes.size(), nullptr);
  std::vector<float*> targets(plan_.shapes.size(), nullptr);
  bool empty = false;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto value = static_cast<size_t>(graph.inputs()[i].value);
    empty = empty || plan_.shapes[value].images == 0;
    if (inputs[i].data == nullptr && plan_.shapes[value].images > 0)
      throw Error(Status::invalid_argument, "Input '" + graph.inputs()[i].name + "' has no data.");
    sources[value] = inputs[i].data;
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto value = static_cast<size_t>(graph.outputs()[i].value);
    if (outputs[i] == nullptr && plan_.shapes[value].images > 0)
      throw Error(Status::invalid_argument, "Output '" + graph.outputs()[i].name + "' has no memory.");
    if (targets[value] == nullptr) targets[value] = outputs[i];
  }
  milliseconds_.assign(milliseconds_.size(), 0.0);
  if (empty) return;  // no image in, so nothing out

  std::vector<Planes> in;
  auto before = std::chrono::steady_clock::now();
  for (size_t k = 0; k < graph.nodes().size(); ++k) {
    if (plan_.skipped[k]) continue;
    const Node& node = graph.nodes()[k];
    in.clear();
    for (int input : node.inputs) in.push_back(plan_.planes[static_cast<size_t>(input)]);
    const auto output = static_cast<size_t>(node.output);
    model_->steps()[k]->run(
        {in, plan_.planes[output], sources[static_cast<size_t>(node.inputs[0])], targets[output], arena_.data(), pool_});
    const auto after = std::chrono::steady_clock::now();
    milliseconds_[k] = std::chrono::duration<double, std::milli>(after - before).count();
    before = after;
  }
  // A value that is an output more than once was made once.
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto value = static_cast<size_t>(graph.outputs()[i].value);
    if (outputs[i] != targets[value])
      std::memcpy(outputs[i], targets[value], static_cast<size_t>(plan_.shapes[value].elements()) * sizeof(float));
  }
}

}  // namespace niwaki
