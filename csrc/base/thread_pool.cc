#include "base/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
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

using Clock = std::chrono::steady_clock;

// Long enough to bridge the gap between two layers, too short to be noticed by whoever else wants the core.
constexpr auto kSpin = std::chrono::microseconds(50);

// Waits a moment for done() to become true; false where it did not.
template <typename Done>
bool spin(const Done& done) {
  const auto end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (Clock::now() < end);
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

// Every thread has its share of a loop: a range of neighbouring tasks, the same part of every loop. What a thread wrote in one layer is
// then mostly what it reads in the next, and stays in its own cache: on a server a line from another core's cache takes as long as one
// from memory. Who is done takes tasks from the far end of another's share.
//
// A share is one word: the number of the loop, the first and the last of the tasks not yet taken. Whoever wants a task reads a share and
// the loop's function and then changes the word by compare-and-swap. That succeeds only while tasks of that loop are left, so a worker
// that wakes up late does no harm and nobody waits for it: `run` ends when all tasks are done, not when all workers have looked.
struct ThreadPool::Impl {
  static constexpr int kBits = 20;  // of a task's number within a loop; the other 24 count the loops
  static constexpr int64_t kMostTasks = (int64_t{1} << kBits) - 1;
  static constexpr uint64_t kMask = kMostTasks;

  struct alignas(64) Share {
    std::atomic<uint64_t> word{0};
  };
  // What a thread had to do in the last loop that it had a task of. Written by it before its tasks count as done, read by the caller after.
  struct alignas(64) Span {
    uint64_t loop = 0;
    Clock::time_point begin, end;
  };
  static uint64_t pack(uint64_t loop, uint64_t begin, uint64_t end) { return loop << (2 * kBits) | begin << kBits | end; }

  // What workers watch and read, in one line of the cache.
  alignas(64) std::atomic<uint32_t> epoch{0};  // rises with every loop
  std::atomic<bool> stop{false};
  std::atomic<bool> failed{false};
  std::atomic<Erased> call{nullptr};
  std::atomic<const void*> function{nullptr};
  std::atomic<int64_t> first{0};                   // number of the loop's task 0
  alignas(64) std::atomic<uint32_t> remaining{0};  // tasks not yet done
  std::exception_ptr exception;  // written by the task that set `failed`, read by the caller after the last task
  uint64_t loop = 0;             // the caller's
  int64_t process = process_id();
  std::atomic<bool> measuring{false};
  Waits waits;  // the caller's
  std::vector<Share> shares;
  std::vector<Span> spans;
  std::vector<std::thread> workers;

  explicit Impl(int threads) : shares(static_cast<std::size_t>(threads)), spans(static_cast<std::size_t>(threads)) {}

  // Does what is left of one share of a loop, from its front (the thread's own) or its end; returns how many tasks that were. A share of the
  // next loop is left: a thread that is late with this one would begin that one at the end of another's share.
  uint32_t drain(Share& share, uint64_t number, bool own, int thread) {
    for (uint32_t done = 0;;) {
      uint64_t seen = share.word.load(std::memory_order_acquire);
      const uint64_t begin = seen >> kBits & kMask, end = seen & kMask;
      if (begin == end || seen >> (2 * kBits) != number) return done;
      const Erased call_now = call.load(std::memory_order_acquire);
      const void* function_now = function.load(std::memory_order_acquire);
      const int64_t first_now = first.load(std::memory_order_acquire);
      const uint64_t left = own ? seen + (uint64_t{1} << kBits) : seen - 1;
      if (!share.word.compare_exchange_strong(seen, left, std::memory_order_acq_rel)) continue;
      if (!failed.load(std::memory_order_relaxed)) {
        try {
          call_now(function_now, first_now + static_cast<int64_t>(own ? begin : end - 1), thread);
        } catch (...) {
          if (!failed.exchange(true)) exception = std::current_exception();
        }
      }
      ++done;
    }
  }

  // Takes tasks of a loop until there is none left to take.
  void work(int thread, uint64_t loop_now) {
    const uint64_t number = pack(loop_now, 0, 0) >> (2 * kBits);
    const int count = static_cast<int>(shares.size());
    const bool measured = measuring.load(std::memory_order_relaxed);
    for (int i = 0; i < count; ++i) {
      const auto begin = measured ? Clock::now() : Clock::time_point();
      const uint32_t done = drain(shares[static_cast<std::size_t>((thread + i) % count)], number, i == 0, thread);
      if (measured && done > 0) note(spans[static_cast<std::size_t>(thread)], number, begin);
      if (done > 0 && remaining.fetch_sub(done, std::memory_order_acq_rel) == done) remaining.notify_all();
    }
  }

  static void note(Span& span, uint64_t number, Clock::time_point begin) {
    if (span.loop != number) span = {number, begin, begin};
    span.end = Clock::now();
  }

  // When a loop that began then is done.
  void add_waits(Clock::time_point begin) {
    const auto end = Clock::now();
    const auto between = [](Clock::time_point from, Clock::time_point to) {
      return std::max(0.0, std::chrono::duration<double, std::milli>(to - from).count());
    };
    const uint64_t number = pack(loop, 0, 0) >> (2 * kBits);
    waits.loops += between(begin, end);
    for (const Span& span : spans) {
      const bool worked = span.loop == number;
      waits.begin += between(begin, worked ? span.begin : end);
      if (worked) waits.end += between(span.end, end);
    }
  }

  void idle(int thread) {
    uint32_t last = 0;
    for (;;) {
      const auto changed = [&] { return epoch.load(std::memory_order_acquire) != last; };
      if (!spin(changed)) epoch.wait(last, std::memory_order_acquire);
      last = epoch.load(std::memory_order_acquire);
      if (stop.load(std::memory_order_acquire)) return;
      work(thread, last);  // one epoch for each loop, and the shares are there before it rises
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

  // One loop of at most kMostTasks tasks.
  void run(int64_t from, int64_t tasks, Erased call_now, const void* function_now) {
    call.store(call_now, std::memory_order_release);
    function.store(function_now, std::memory_order_release);
    first.store(from, std::memory_order_release);
    failed.store(false, std::memory_order_relaxed);
    remaining.store(static_cast<uint32_t>(tasks), std::memory_order_relaxed);
    ++loop;
    const bool measured = measuring.load(std::memory_order_relaxed);
    const auto begin = measured ? Clock::now() : Clock::time_point();
    const auto count = static_cast<int64_t>(shares.size());
    for (int64_t t = 0; t < count; ++t)
      shares[static_cast<std::size_t>(t)].word.store(
          pack(loop, static_cast<uint64_t>(tasks * t / count), static_cast<uint64_t>(tasks * (t + 1) / count)),
          std::memory_order_release);
    wake();
    work(0, loop);
    const auto done = [&] { return remaining.load(std::memory_order_acquire) == 0; };
    if (!spin(done)) {
      for (uint32_t left; (left = remaining.load(std::memory_order_acquire)) != 0;)
        remaining.wait(left, std::memory_order_acquire);
    }
    if (measured) add_waits(begin);
    if (failed.load(std::memory_order_relaxed)) {
      const std::exception_ptr thrown = exception;
      exception = nullptr;
      std::rethrow_exception(thrown);
    }
  }
};

ThreadPool::ThreadPool(int threads) : threads_(threads) {
  if (threads < 1) throw Error(Status::invalid_argument, "threads must be at least 1, not " + std::to_string(threads) + ".");
  if (threads == 1) return;
  impl_ = std::make_unique<Impl>(threads);
  try {
    for (int thread = 1; thread < threads; ++thread)
      impl_->workers.emplace_back([impl = impl_.get(), thread] { impl->idle(thread); });
  } catch (const std::system_error& error) {
    impl_->finish();
    throw Error(Status::unsupported,
                "The system refused to start " + std::to_string(threads - 1) + " threads: " + error.what() + ".");
  } catch (...) {  // no memory for a thread: those that run are waited for
    impl_->finish();
    throw;
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

void ThreadPool::measure_waits(bool on) {
  if (impl_) impl_->measuring.store(on, std::memory_order_relaxed);
}

ThreadPool::Waits ThreadPool::take_waits() { return impl_ ? std::exchange(impl_->waits, {}) : Waits(); }

void ThreadPool::run_erased(int64_t tasks, Erased call, const void* function) {
  for (int64_t from = 0; from < tasks; from += Impl::kMostTasks)
    impl_->run(from, std::min(tasks - from, Impl::kMostTasks), call, function);
}

}  // namespace niwaki
