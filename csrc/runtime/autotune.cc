#include "runtime/autotune.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>

#include "base/status.h"
#include "graph/shapes.h"
#include "runtime/session.h"

namespace niwaki {
namespace {

struct Kind {
  ConvKind kind;
  const char* name;
};
constexpr Kind kKinds[] = {{ConvKind::dense, "dense"}, {ConvKind::sparse, "sparse"}};
constexpr int kMinRounds = 5, kMaxRounds = 100;

// A model, something to run it on, and the least time that each of its steps has taken: what else ran on the machine only adds.
class Candidate {
 public:
  Candidate(const Graph& graph, Isa isa, const Kind& kind, std::span<const Sizes> sizes, int threads)
      : name(kind.name),
        model(std::make_shared<Model>(graph, isa, kind.kind)),
        milliseconds(model->steps().size(), std::numeric_limits<double>::infinity()),
        session_(model, threads) {
    const std::vector<Sizes> made = session_.output_shapes(sizes);
    for (size_t i = 0; i < made.size(); ++i) outputs_.emplace_back(bytes(graph, graph.outputs()[i], made[i]));
    for (auto& output : outputs_) targets_.push_back(output.data());
    for (size_t i = 0; i < sizes.size(); ++i) inputs_.emplace_back(bytes(graph, graph.inputs()[i], sizes[i]));
    for (size_t i = 0; i < inputs_.size(); ++i) sources_.push_back({inputs_[i].data(), sizes[i]});
    session_.run(sources_, targets_);  // plans the memory
  }

  void run() {
    session_.run(sources_, targets_);
    const std::vector<double> now = session_.milliseconds();
    for (size_t k = 0; k < milliseconds.size(); ++k) milliseconds[k] = std::min(milliseconds[k], now[k]);
  }

  const char* name;
  std::shared_ptr<Model> model;
  std::vector<double> milliseconds;

 private:
  static size_t bytes(const Graph& graph, const Port& port, const Sizes& sizes) {
    return static_cast<size_t>(elements_of(sizes) * dtype_bytes(graph.value(port.value).dtype));
  }

  Session session_;
  std::vector<std::vector<uint8_t>> inputs_, outputs_;  // zeros: no kernel is faster or slower for them
  std::vector<Session::Input> sources_;
  std::vector<void*> targets_;
};

std::string measured(const std::vector<std::unique_ptr<Candidate>>& candidates, size_t step) {
  std::string text = "measured:";
  for (const auto& candidate : candidates) {
    char one[64];
    std::snprintf(one, sizeof one, "%s %s %.3g ms", candidate == candidates.front() ? "" : ",", candidate->name,
                  candidate->milliseconds[step]);
    text += one;
  }
  return text;
}

}  // namespace

std::unique_ptr<Model> autotune(const Graph& graph, Isa isa, std::span<const Sizes> sizes, int threads, double seconds) {
  using Clock = std::chrono::steady_clock;
  for (const Sizes& input : sizes)
    if (elements_of(input) == 0) throw Error(Status::invalid_argument, "An empty batch can't be timed; give at least one image.");
  std::vector<std::unique_ptr<Candidate>> candidates;
  for (const Kind& kind : kKinds) candidates.push_back(std::make_unique<Candidate>(graph, isa, kind, sizes, threads));
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  for (int round = 0; round < kMaxRounds && (round < kMinRounds || Clock::now() < end); ++round)
    for (auto& candidate : candidates) candidate->run();  // turn and turn about: the machine's ups and downs hit all alike

  auto best = std::make_unique<Model>(graph, isa);
  for (size_t k = 0; k < best->steps().size(); ++k) {
    const auto kernel = [&](const auto& candidate) -> const std::string& { return candidate->model->steps()[k]->info.kernel; };
    if (std::all_of(candidates.begin(), candidates.end(), [&](const auto& c) { return kernel(c) == kernel(candidates[0]); }))
      continue;
    const auto& fastest = *std::min_element(candidates.begin(), candidates.end(), [&](const auto& a, const auto& b) {
      return a->milliseconds[k] < b->milliseconds[k];
    });
    best->take_step(k, *fastest->model, measured(candidates, k));
  }
  return best;
}

}  // namespace niwaki
