#include "base/thread_pool.h"

#include <atomic>
#include <chrono>
#include <exception>
#include <limits>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#endif

#include "base/status.h"

namespace niwaki {
namespace {

void pause() {
#if defined(__x86_64__) || defined(_M_X64)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Long enough to bridge the gap between two layers, too short to be noticed by whoever else wants the core.
constexpr auto kSpin = std::chrono::microseconds(50);

// Waits a moment for done() to become true; false where it did not.
template <typename Done>
bool spin(const Done& done) {
  const auto end = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

int64_t process_id() {
#if defined(__unix__) || defined(__APPLE__)
  return getpid();
#else
  return 0;
#endif
}

}  // namespace

// A loop is published in `ticket`: its number in the upper half, the next task in the lower. Whoever wants a task reads the
// ticket and the loop's fields and then adds one to the ticket by compare-and-swap. That succeeds only if the loop is still the
// one whose fields were read, so a worker that wakes up late does no harm and nobody waits for it: `run` ends when all tasks
// are done, not when all workers have looked. For that the ticket is closed before the fields of the next loop are written.
struct ThreadPool::Impl {
  static constexpr uint64_t kClosed = 0xffffffffu;  // in the lower half: no task may be taken

  alignas(64) std::atomic<uint64_t> ticket{kClosed};
  alignas(64) std::atomic<int64_t> tasks{0};
  std::atomic<Erased> call{nullptr};
  std::atomic<const void*> function{nullptr};
  alignas(64) std::atomic<uint32_t> remaining{0};  // tasks not yet done
  std::atomic<bool> failed{false};
  std::exception_ptr exception;                // written by the task that set `failed`, read by the caller after the last task
  alignas(64) std::atomic<uint32_t> epoch{0};  // rises with every loop: what idle workers watch
  std::atomic<bool> stop{false};
  int64_t process = process_id();
  std::vector<std::thread> workers;

  // Takes tasks until there is none left to take.
  void work(int thread) {
    for (;;) {
      uint64_t seen = ticket.load(std::memory_order_acquire);
      const int64_t count = tasks.load(std::memory_order_acquire);
      const Erased call_now = call.load(std::memory_order_acquire);
      const void* function_now = function.load(std::memory_order_acquire);
      const uint64_t task = seen & kClosed;
      if (task == kClosed || static_cast<int64_t>(task) >= count) return;
      if (!ticket.compare_exchange_strong(seen, seen + 1, std::memory_order_acq_rel)) continue;
      if (!failed.load(std::memory_order_relaxed)) {
        try {
          call_now(function_now, static_cast<int64_t>(task), thread);
        } catch (...) {
          if (!failed.exchange(true)) exception = std::current_exception();
        }
      }
      if (remaining.fetch_sub(1, std::memory_order_acq_rel) == 1) remaining.notify_all();
    }
  }

  void idle(int thread) {
    uint32_t last = 0;
    for (;;) {
      const auto changed = [&] { return epoch.load(std::memory_order_acquire) != last; };
      if (!spin(changed)) epoch.wait(last, std::memory_order_acquire);
      last = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      work(thread);
    }
  }

  void wake() {
    epoch.fetch_add(1, std::memory_order_release);
    epoch.notify_all();
  }

  void finish() {
    stop.store(true, std::memory_order_release);
    wake();
    for (std::thread& worker : workers) worker.join();
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  if (threads < 1) throw Error(Status::invalid_argument, "threads must be at least 1, not " + std::to_string(threads) + ".");
  if (threads == 1) return;
  impl_ = std::make_unique<Impl>();
  try {
    for (int thread = 1; thread < threads; ++thread)
      impl_->workers.emplace_back([impl = impl_.get(), thread] { impl->idle(thread); });
  } catch (const std::system_error& error) {
    impl_->finish();
    throw Error(Status::unsupported,
                "The system refused to start " + std::to_string(threads - 1) + " threads: " + error.what() + ".");
  }
}

ThreadPool::~ThreadPool() {
  if (!impl_) return;
  // In a child made by fork() the workers do not exist, and joining them would wait for ever: what little there is stays behind.
  if (impl_->process != process_id()) {
    (void)impl_.release();
    return;
  }
  impl_->finish();
}

void ThreadPool::run_erased(int64_t tasks, Erased call, const void* function) {
  if (tasks > std::numeric_limits<int32_t>::max())
    throw Error(Status::invalid_argument, "A loop of " + std::to_string(tasks) + " tasks is too long for the thread pool.");
  Impl& impl = *impl_;
  const uint64_t loop = (impl.ticket.load(std::memory_order_relaxed) >> 32) + 1;
  impl.ticket.store((loop << 32) | Impl::kClosed, std::memory_order_seq_cst);
  impl.tasks.store(tasks, std::memory_order_release);
  impl.call.store(call, std::memory_order_release);
  impl.function.store(function, std::memory_order_release);
  impl.failed.store(false, std::memory_order_relaxed);
  impl.remaining.store(static_cast<uint32_t>(tasks), std::memory_order_relaxed);
  impl.ticket.store(loop << 32, std::memory_order_release);
  impl.wake();
  impl.work(0);
  const auto done = [&] { return impl.remaining.load(std::memory_order_acquire) == 0; };
  if (!spin(done)) {
    for (uint32_t left; (left = impl.remaining.load(std::memory_order_acquire)) != 0;)
      impl.remaining.wait(left, std::memory_order_acquire);
  }
  if (impl.failed.load(std::memory_order_relaxed)) {
    const std::exception_ptr exception = impl.exception;
    impl.exception = nullptr;
    std::rethrow_exception(exception);
  }
}

}  // namespace niwaki
