// A few threads that share loops. The caller of `run` works too. One loop at a time: neither from two threads nor from within a
// task. Idle threads spin for some tens of microseconds and then sleep. In a child made by fork() the threads are gone; the
// caller then does all tasks alone.
#pragma once

#include <cstdint>
#include <memory>

namespace niwaki {

class ThreadPool {
 public:
  // threads: how many work on a loop, the caller included; at least 1 (1 starts no thread).
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const { return threads_; }

  // Milliseconds, those of all threads added up, in which a thread of a loop had nothing to do: before its first task, because it had not heard
  // of the loop yet or the others were faster, and after its last one, until the slowest was done. `loops`: how long loops took in all, once
  // for all threads. A loop of one task is not one of these.
  struct Waits {
    double loops = 0.0, begin = 0.0, end = 0.0;
  };
  // Not while a loop runs. It costs two looks at the clock for each thread and loop.
  void measure_waits(bool on);
  // What was measured since the last call.
  Waits take_waits();

  // Calls function(task, thread) once for each task in [0, tasks), thread in [0, threads()). Thread t begins with the t-th of
  // threads() equal ranges of tasks, so loops that cut the same pixels in the same order find them in their thread's cache.
  // Returns when all are done. The first exception thrown by a task is rethrown here.
  template <typename Function>
  void run(int64_t tasks, const Function& function) {
    if (tasks <= 0) return;
    if (threads_ == 1 || tasks == 1) {
      for (int64_t task = 0; task < tasks; ++task) function(task, 0);
      return;
    }
    run_erased(
        tasks, [](const void* f, int64_t task, int thread) { (*static_cast<const Function*>(f))(task, thread); }, &function);
  }

 private:
  using Erased = void (*)(const void* function, int64_t task, int thread);
  void run_erased(int64_t tasks, Erased call, const void* function);

  struct Impl;
  int threads_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace niwaki
