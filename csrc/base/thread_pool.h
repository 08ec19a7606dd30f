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
