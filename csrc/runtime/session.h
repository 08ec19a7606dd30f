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

  // Activations of the images that go through the network together, if every segment ran for one image at a time.
  static constexpr int64_t kPassBytes = 32 << 20;

  // The last two are for tests.
  Session(std::shared_ptr<const Model> model, int threads, int64_t pass_bytes = kPassBytes,
          ChooseSegments choose = choose_segments);

  // Sizes of the outputs for inputs of these sizes. Throws Error, naming the input or the layer, for what the network cannot
  // take.
  std::vector<std::vector<int64_t>> output_sizes(std::span<const std::vector<int64_t>> inputs) const;

  // outputs: contiguous float32 arrays of output_sizes. Memory is planned anew when the sizes differ from those of the last run.
  // A batch goes through the network some images at a time, and through parts of it fewer (segments.h). A second thread that
  // comes while a run is on is refused.
  void run(std::span<const Input> inputs, std::span<float* const> outputs);

  // Of each step in the last run, all images together.
  const std::vector<double>& milliseconds() const { return milliseconds_; }
  const std::vector<int64_t>& macs() const { return macs_; }

  int64_t activation_bytes() const { return arena_bytes_; }  // activations and scratch at the last sizes
  const Model& model() const { return *model_; }

 private:
  // Some images of the batch: how many, and where their activations lie.
  struct Pass {
    int64_t images = 0;
    Plan plan;
  };

  void check_pointers(std::span<const Input> inputs, std::span<float* const> outputs) const;
  void plan(std::vector<std::vector<int64_t>> sizes);
  int64_t images_per_pass(const std::vector<std::vector<int64_t>>& sizes) const;
  Pass make_pass(std::vector<std::vector<int64_t>> sizes, int64_t images) const;
  void run_batch(std::span<const Input> inputs, std::span<float* const> outputs);
  void run_pass(const Pass& pass, int64_t first_image, std::span<const Input> inputs, std::span<float* const> outputs);
  void run_segment(const Pass& pass, const Segment& segment, int64_t first_image, int64_t images,
                   std::span<const float* const> sources, std::span<float* const> targets);

  std::shared_ptr<const Model> model_;
  ThreadPool pool_;
  int64_t pass_bytes_;
  ChooseSegments choose_;
  std::vector<std::vector<int64_t>> sizes_;  // what the passes are for; empty before the first run
  std::vector<Shape> shapes_;                // of each value, the whole batch
  std::vector<Pass> passes_;                 // one, or two: the usual one and the last one, which may be smaller
  int64_t arena_bytes_ = 0;
  std::vector<int64_t> macs_;
  Buffer arena_;
  std::vector<double> milliseconds_;
  std::atomic<bool> running_{false};
};

}  // namespace niwaki
