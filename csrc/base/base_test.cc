// Instruction sets, memory and the thread pool.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <optional>
#include <thread>

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "base/arch.h"
#include "base/features.h"
#include "base/memory.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "testing/test.h"

namespace niwaki {
namespace {

// Sets NIWAKI_ISA for a scope and puts back what was there.
class ForcedIsa {
 public:
  explicit ForcedIsa(const char* name) {
    if (const char* old = std::getenv("NIWAKI_ISA")) old_ = old;
    setenv("NIWAKI_ISA", name, 1);
  }
  ~ForcedIsa() { old_ ? setenv("NIWAKI_ISA", old_->c_str(), 1) : unsetenv("NIWAKI_ISA"); }

 private:
  std::optional<std::string> old_;
};

TEST(arch_names_round_trip) {
  const auto& isas = supported_isas();
  REQUIRE(!isas.empty());
  CHECK(isas.front() == Isa::scalar);
  for (size_t i = 1; i < isas.size(); ++i) CHECK(!isa_includes(isas[i - 1], isas[i]));  // the better ones come later
  for (Isa isa : isas) CHECK(parse_isa(isa_name(isa)) == isa);
  CHECK(!cpu_name().empty());
}

// An emulator is told which CPU to be; the caller says in NIWAKI_BEST_ISA which set that CPU's best is.
TEST(arch_finds_what_the_emulated_cpu_has) {
  if (const char* best = std::getenv("NIWAKI_BEST_ISA"))
    CHECK_EQ(std::string(isa_name(supported_isas().back())), std::string(best));
}

TEST(arch_environment_forces) {
  for (Isa isa : supported_isas()) {
    ForcedIsa forced(isa_name(isa));
    CHECK(current_isa() == isa);
  }
  {
    ForcedIsa forced("");
    CHECK(current_isa() == supported_isas().back());
  }
  {
    ForcedIsa forced("sse9");
    CHECK_THROWS(current_isa(), "NIWAKI_ISA: unknown instruction set 'sse9'; this machine supports scalar");
  }
#if defined(__x86_64__)
  ForcedIsa forced("i8mm");
  CHECK_THROWS(current_isa(), "this machine cannot run the instruction set 'i8mm'");
#endif
}

TEST(arch_includes) {
  CHECK(isa_includes(Isa::avx2, Isa::scalar));
  CHECK(isa_includes(Isa::avx512vnni, Isa::avx2));
  CHECK(isa_includes(Isa::avxvnni, Isa::avx2));
  CHECK(!isa_includes(Isa::avx512vnni, Isa::avxvnni));
  CHECK(!isa_includes(Isa::avx2, Isa::avx512vnni));
  CHECK(isa_includes(Isa::amx, Isa::avx512vnni));
  CHECK(!isa_includes(Isa::avx512vnni, Isa::amx));
  CHECK(!isa_includes(Isa::scalar, Isa::avx2));
  CHECK(!isa_includes(Isa::i8mm, Isa::avx2));
  CHECK(isa_includes(Isa::i8mm, Isa::neon));
  for (const Isa isa : supported_isas()) CHECK(has_all(cpu_features(), features_of(isa)));
  CHECK(!isa_includes(Isa::neon, Isa::dotprod));
}

TEST(memory_aligned) {
  CHECK(Buffer(0).data() != nullptr && Buffer(0).size() == 0 && Buffer().data() == nullptr);
  for (size_t bytes : {1, 63, 64, 65, 100000}) {
    Buffer buffer(bytes);
    CHECK_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % kCacheLine, 0u);
    CHECK_EQ(buffer.size(), bytes);
    std::memset(buffer.data(), 1, bytes);
  }
  CHECK_THROWS(Buffer(~size_t{0} - 100), "Not enough memory");
}

TEST(thread_pool_each_task_once) {
  for (int threads : {1, 2, 3, 7}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 300; ++round) {
      const int tasks = round % 40;
      std::vector<int> counts(static_cast<size_t>(tasks),
                              0);  // plain: each is touched by one task, and seen by the caller after run
      std::atomic<bool> bad{false};
      pool.run(tasks, [&](int64_t task, int thread) {
        counts[static_cast<size_t>(task)] += 1;
        if (thread < 0 || thread >= threads) bad = true;
      });
      for (int count : counts) CHECK_EQ(count, 1);
      CHECK(!bad);
    }
  }
}

TEST(thread_pool_shares_work) {
  ThreadPool pool(2);
  std::atomic<int> inside{0};
  // Each of the two tasks waits for the other, so this returns only if two threads work.
  pool.run(2, [&](int64_t, int) {
    inside += 1;
    while (inside < 2) std::this_thread::yield();
  });
  CHECK_EQ(inside.load(), 2);
}

// A thread begins at the front of its own share, in every loop.
TEST(thread_pool_gives_threads_the_same_tasks) {
  ThreadPool pool(2);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> inside{0};
    int thread_of[8] = {};
    pool.run(8, [&](int64_t task, int thread) {
      thread_of[task] = thread;
      if (task % 4 != 0) return;
      inside += 1;
      while (inside < 2) std::this_thread::yield();
    });
    CHECK_EQ(thread_of[0], 0);
    CHECK_EQ(thread_of[4], 1);
  }
}

TEST(thread_pool_runs_long_loops) {
  const int64_t tasks = (int64_t{1} << 21) + 5;
  for (int threads : {1, 2}) {
    ThreadPool pool(threads);
    std::vector<uint8_t> counts(static_cast<size_t>(tasks));
    pool.run(tasks, [&](int64_t task, int) { counts[static_cast<size_t>(task)] += 1; });
    CHECK(std::all_of(counts.begin(), counts.end(), [](uint8_t count) { return count == 1; }));
  }
}

TEST(thread_pool_wakes_sleepers) {
  ThreadPool pool(3);
  for (int round = 0; round < 5; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> inside{0};
    pool.run(3, [&](int64_t, int) {
      inside += 1;
      while (inside < 3) std::this_thread::yield();
    });
    CHECK_EQ(inside.load(), 3);
  }
}

TEST(thread_pool_measures_waits) {
  ThreadPool pool(2);
  // The first task ends at once, the second long after: the thread of the first waits for it.
  const auto loop = [&] {
    std::atomic<int> inside{0};
    pool.run(2, [&](int64_t task, int) {
      inside += 1;
      while (inside < 2) std::this_thread::yield();
      if (task == 1) std::this_thread::sleep_for(std::chrono::milliseconds(60));
    });
  };
  loop();
  CHECK_EQ(pool.take_waits().loops, 0.0);
  pool.measure_waits(true);
  loop();
  const ThreadPool::Waits waits = pool.take_waits();
  CHECK(waits.loops >= 60.0 && waits.end > 1.0 && waits.begin >= 0.0);
  CHECK(waits.begin + waits.end <= 2.0 * waits.loops - 60.0);  // one of the two was at work for so long
  CHECK_EQ(pool.take_waits().end, 0.0);
  pool.measure_waits(false);
  loop();
  CHECK_EQ(pool.take_waits().loops, 0.0);
  ThreadPool alone(1);
  alone.measure_waits(true);
  alone.run(3, [](int64_t, int) {});
  CHECK_EQ(alone.take_waits().loops, 0.0);
}

TEST(thread_pool_passes_exceptions) {
  for (int threads : {1, 3}) {
    ThreadPool pool(threads);
    for (int round = 0; round < 20; ++round) {
      CHECK_THROWS(pool.run(50,
                            [](int64_t task, int) {
                              if (task == 17) throw Error(Status::internal, "seventeen");
                            }),
                   "seventeen");
      std::atomic<int> sum{0};
      pool.run(10, [&](int64_t task, int) { sum += static_cast<int>(task); });
      CHECK_EQ(sum.load(), 45);
    }
  }
  CHECK_THROWS(ThreadPool(0), "threads must be at least 1, not 0");
}

#if defined(__linux__) && !defined(__SANITIZE_THREAD__)
TEST(thread_pool_survives_fork) {
  auto pool = std::make_unique<ThreadPool>(3);
  pool->run(10, [](int64_t, int) {});
  const pid_t child = fork();
  if (child == 0) {
    int sum = 0;  // only this thread is left to do them
    pool->run(10, [&](int64_t task, int) { sum += static_cast<int>(task); });
    pool.reset();
    _exit(sum == 45 ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}
#endif

}  // namespace
}  // namespace niwaki
