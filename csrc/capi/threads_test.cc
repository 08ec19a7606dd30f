// The C API from many threads, and after a fork.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#if defined(__unix__)
#include <sys/wait.h>
#include <unistd.h>
#endif

#include "capi/test_tools.h"
#include "testing/heap.h"

namespace niwaki {
namespace {

using namespace capi_testing;

// How many runs of each session: 10000 for a long test, see `make stress`.
int wanted_runs() {
  const char* given = std::getenv("NIWAKI_TEST_RUNS");
  return given != nullptr ? std::atoi(given) : 100;
}

// Runs one session `runs` times, and a second one that comes and goes; what goes wrong is counted.
void work(niwaki_model* model, int threads, int runs, const Arrays& wanted, std::atomic<int>& wrong) {
  niwaki_options options{};
  options.threads = threads;
  niwaki_session *stays = nullptr, *goes = nullptr;
  wrong += niwaki_session_create(model, &options, &stays) != NIWAKI_OK;
  for (int i = 0; i < runs; ++i) {
    Arrays arrays;
    wrong += arrays.run(stays) != NIWAKI_OK || !arrays.same(wanted);
    if (i % 50 != 49) continue;
    wrong += niwaki_session_create(model, &options, &goes) != NIWAKI_OK;
    wrong += arrays.run(goes) != NIWAKI_OK || !arrays.same(wanted);
    wrong += niwaki_session_close(goes) != NIWAKI_OK;
  }
  wrong += niwaki_session_close(stays) != NIWAKI_OK;
}

TEST(capi_sessions_side_by_side) {
  const int runs = wanted_runs();
  const Arrays wanted = expected();
  Meter meter;
  {
    // What is made once and kept: the file of these tests, and the table of handles, which here gets larger than it will be below.
    std::vector<std::unique_ptr<Opened>> many(64);
    for (auto& one : many) one = std::make_unique<Opened>();
  }
  const size_t before = testing::heap_live();
  size_t after_some = 0, after_all = 0;
  {
    Opened opened(meter.options());
    const int of_the_model = meter.open;
    std::atomic<int> wrong{0};
    const auto all = [&](int each) {
      std::vector<std::thread> threads;
      for (int t = 0; t < 8; ++t) threads.emplace_back([&, t] { work(opened.model, t % 2 + 1, each, wanted, wrong); });
      for (int i = 0; i < 5; ++i) Opened other;  // meanwhile another model comes and goes
      for (std::thread& thread : threads) thread.join();
      threads.clear();
      return testing::heap_live();
    };
    after_some = all(runs / 10);
    after_all = all(runs);
    CHECK_EQ(wrong.load(), 0);
    CHECK_EQ(meter.open.load(), of_the_model);
  }
  CHECK_EQ(after_all, after_some);  // ten times the runs, and not a byte more
  CHECK_EQ(testing::heap_live(), before);
  CHECK_EQ(meter.open.load(), 0);
}

TEST(capi_a_session_goes_while_others_run) {
  Opened opened;
  const Arrays wanted = expected();
  std::atomic<bool> stop{false};
  std::atomic<int> wrong{0}, gone{0}, done{0};
  // Sessions that their thread runs and this one closes: the run that is under way ends well, the next one is refused.
  std::vector<std::thread> threads;
  std::atomic<niwaki_session*> sessions[3] = {};
  for (auto& slot : sessions)
    threads.emplace_back([&] {
      while (!stop) {
        niwaki_session* session = nullptr;
        wrong += niwaki_session_create(opened.model, nullptr, &session) != NIWAKI_OK;
        slot = session;
        for (bool open = true; open;) {
          Arrays arrays;
          const niwaki_status status = arrays.run(session);
          open = status == NIWAKI_OK;
          wrong += open ? !arrays.same(wanted) : status != NIWAKI_INVALID_ARGUMENT;
        }
        ++gone;
      }
      ++done;
    });
  while (gone < 30) {
    Arrays arrays;
    wrong += arrays.run(opened.session) != NIWAKI_OK || !arrays.same(wanted);
    for (auto& slot : sessions)
      if (niwaki_session* session = slot.exchange(nullptr)) wrong += niwaki_session_close(session) != NIWAKI_OK;
  }
  stop = true;
  while (done < 3)
    for (auto& slot : sessions)
      if (niwaki_session* session = slot.exchange(nullptr)) wrong += niwaki_session_close(session) != NIWAKI_OK;
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(wrong.load(), 0);
}

TEST(capi_a_session_is_one_threads) {
  Opened opened;
  const Arrays wanted = expected();
  std::atomic<int> ran{0}, wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        Arrays arrays;
        const niwaki_status status = arrays.run(opened.session);
        if (status == NIWAKI_OK ? !arrays.same(wanted) : status != NIWAKI_BUSY) ++wrong;
        ran += status == NIWAKI_OK;
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(ran > 0);
  CHECK_EQ(wrong.load(), 0);
}

#if defined(__unix__) && !defined(__SANITIZE_THREAD__)
// Registered before anything that the library makes when it is first used, so it runs after all of that is destroyed, if it is. Writes over
// what was freed, and gives the other threads time to read it. The blocks stay reachable, one from the next: to the leak sanitizer they are
// no leak then.
std::atomic<bool> lingers{false};
void* last_block = nullptr;
const int registered = std::atexit([] {
  if (!lingers) return;
  for (size_t i = 0; i < 40000; ++i) {
    void* freed = std::malloc(16 + i * 16 % 2048);
    if (freed == nullptr) continue;
    std::memset(freed, 0xee, 16 + i * 16 % 2048);
    std::memcpy(freed, &last_block, sizeof last_block);
    last_block = freed;
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
});

TEST(capi_the_process_ends_while_others_run) {
  REQUIRE(registered == 0);
  static const std::vector<uint8_t>& bytes = *new std::vector<uint8_t>(file());
  static const Arrays& wanted = *new Arrays(expected());
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    static std::atomic<int> runs{0};
    for (int t = 0; t < 3; ++t)
      std::thread([] {
        for (;;) {
          niwaki_model* model = nullptr;
          niwaki_session* session = nullptr;
          Arrays arrays;
          const bool good = niwaki_model_open_memory(bytes.data(), bytes.size(), nullptr, &model) == NIWAKI_OK &&
                            niwaki_session_create(model, nullptr, &session) == NIWAKI_OK && arrays.run(session) == NIWAKI_OK &&
                            arrays.same(wanted) && niwaki_session_close(session) == NIWAKI_OK &&
                            niwaki_model_close(model) == NIWAKI_OK;
          if (!good) _exit(3);
          ++runs;
        }
      }).detach();
    while (runs < 6) std::this_thread::yield();
    lingers = true;
    std::exit(0);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(capi_fork_after_load) {
  niwaki_options options{};
  options.threads = 2;
  Opened opened(options);
  const Arrays wanted = expected();
  Arrays before;
  CHECK_EQ(before.run(opened.session), NIWAKI_OK);
  const pid_t child = fork();
  if (child == 0) {
    Arrays arrays, fresh;
    niwaki_session* session = nullptr;
    const bool good = arrays.run(opened.session) == NIWAKI_OK && arrays.same(wanted) &&
                      niwaki_session_create(opened.model, &options, &session) == NIWAKI_OK && fresh.run(session) == NIWAKI_OK &&
                      fresh.same(wanted) && niwaki_session_close(session) == NIWAKI_OK &&
                      niwaki_session_close(opened.session) == NIWAKI_OK && niwaki_model_close(opened.model) == NIWAKI_OK;
    _exit(good ? 0 : 1);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  Arrays after;
  CHECK_EQ(after.run(opened.session), NIWAKI_OK);
  CHECK(after.same(wanted));
}
#endif

}  // namespace
}  // namespace niwaki
