// Runs a model: owns the activations, the states and the threads. Belongs to one thread at a time; sizes and times may be asked for by
// others.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/memory.h"
#include "base/thread_pool.h"
#include "runtime/model.h"
#include "runtime/plan.h"
#include "runtime/states.h"

namespace niwaki {

class Session {
 public:
  struct Input {
    const void* data;  // row-major, of the port's dtype
    Sizes sizes;
  };

  // Activations of the images that go through the network together, if every segment ran for one image at a time.
  static constexpr int64_t kPassBytes = 32 << 20;
  // What is planned for the last few sets of sizes is kept: so many sets, and so many bytes of what steps set up.
  static constexpr size_t kKeptSizes = 32;
  static constexpr int64_t kKeptBytes = 64 << 20;

  // The last two are for tests.
  Session(std::shared_ptr<const Model> model, int threads, int64_t pass_bytes = kPassBytes,
          ChooseSegments choose = choose_segments);
  ~Session();

  // Shapes of the outputs for inputs of these shapes. Throws Error, naming the input or the layer, for what the network cannot
  // take.
  std::vector<Sizes> output_shapes(std::span<const Sizes> inputs) const;

  // outputs: arrays of output_shapes, row-major, of the ports' dtypes; they may not overlap each other or the inputs. States advance when the
  // run succeeds and stay as they are when it throws; the session can be used again in both cases.
  // A batch goes through the network some images at a time, and through parts of it fewer (segments.h). A second thread that
  // comes while a run is on is refused.
  void run(std::span<const Input> inputs, std::span<void* const> outputs);

  // Throw Error for an unknown name, a tensor of another type or shape, and where a run is on.
  void reset_state();  // of all
  Tensor state(const std::string& name) const;
  void set_state(const std::string& name, const Tensor& value);

  // Of each step in the last run, all images together.
  std::vector<double> milliseconds() const;
  std::vector<int64_t> macs() const;

  // Of a step in the last run, milliseconds, those of all threads added up, in which threads had nothing to do: while one worked alone, before
  // their first task of a loop, after their last one. Zeros where waits were not measured, and with one thread.
  struct Waits {
    double alone = 0.0, begin = 0.0, end = 0.0;
  };
  void measure_waits(bool on);  // from the next run on; a second thread is refused
  std::vector<Waits> waits() const;

  int64_t activation_bytes() const;  // activations and scratch at the last sizes
  const Model& model() const { return *model_; }

 private:
  struct Prepared;
  struct Asked;
  class Running;

  std::shared_ptr<const Asked> ask(std::span<const Sizes> inputs) const;
  Prepared& prepare(std::span<const Input> inputs);
  std::unique_ptr<Prepared> plan(std::vector<Sizes> sizes) const;
  void reserve(int64_t bytes);
  void check_pointers(const Prepared& prepared, std::span<const Input> inputs, std::span<void* const> outputs) const;
  void run_pass(Plan& plan, std::span<const uint8_t* const> inputs, std::span<uint8_t* const> outputs);
  void run_calls(Plan& plan, std::span<Call> calls, int64_t first_image, std::span<const uint8_t* const> inputs,
                 std::span<uint8_t* const> outputs);
  void add_waits(Waits& waits, double took);  // of a step that took so many milliseconds
  uint8_t* address(Plan& plan, const Place& place, int64_t image, std::span<const uint8_t* const> inputs,
                   std::span<uint8_t* const> outputs);

  std::shared_ptr<const Model> model_;
  ThreadPool pool_;
  int64_t pass_bytes_;
  ChooseSegments choose_;
  mutable States states_;
  Buffer arena_;
  std::vector<double> timing_;  // of the run that is on
  std::vector<Waits> waiting_;  // of the run that is on; empty where they are not measured
  bool measures_waits_ = false;
  mutable std::atomic<bool> running_{false};

  mutable std::mutex mutex_;                       // for what follows
  std::list<std::unique_ptr<Prepared>> prepared_;  // the last used first
  mutable std::shared_ptr<const Asked> asked_;     // what output_shapes worked out last and no run has used
  std::vector<double> milliseconds_;
  std::vector<Waits> waits_;
  std::vector<int64_t> macs_;
  int64_t arena_bytes_ = 0;
};

}  // namespace niwaki
