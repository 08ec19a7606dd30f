// Runs a model: owns the activations and the threads. Belongs to one thread at a time.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "base/memory.h"
#include "base/thread_pool.h"
#include "runtime/model.h"
#include "runtime/plan.h"

namespace niwaki {

class Session {
 public:
  struct Input {
    const float* data;           // contiguous
    std::vector<int64_t> sizes;  // [N, C, H, W] or [N, C]
  };

  Session(std::shared_ptr<const Model> model, int threads);

  // Sizes of the outputs for inputs of these sizes. Throws Error, naming the input or the layer, for what the network cannot
  // take.
  std::vector<std::vector<int64_t>> output_sizes(std::span<const std::vector<int64_t>> inputs) const;

  // outputs: contiguous float32 arrays of output_sizes. Memory is planned anew when the sizes differ from those of the last run.
  // A second thread that comes while a run is on is refused.
  void run(std::span<const Input> inputs, std::span<float* const> outputs);

  // Of each step in the last run.
  const std::vector<double>& milliseconds() const { return milliseconds_; }
  const std::vector<int64_t>& macs() const { return plan_.macs; }

  int64_t activation_bytes() const { return plan_.arena_bytes; }  // activations and scratch at the last sizes
  const Model& model() const { return *model_; }

 private:
  void run_steps(std::span<const Input> inputs, std::span<float* const> outputs);
  void plan(std::vector<std::vector<int64_t>> sizes);

  std::shared_ptr<const Model> model_;
  ThreadPool pool_;
  std::vector<std::vector<int64_t>> sizes_;  // what plan_ is for; empty before the first run
  Plan plan_;
  Buffer arena_;
  std::vector<double> milliseconds_;
  std::atomic<bool> running_{false};
};

}  // namespace niwaki
