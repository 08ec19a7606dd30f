// Ends a fuzz program that takes too long for one input. libFuzzer's own limit counts the time that goes by, on a machine that others
// use, too, so it has to be long; this one counts processor time.
#pragma once

#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include "fuzz/checks.h"

namespace niwaki::fuzz {

// For those that do not come back: more than all actions of a check take, of which each that comes back late is reported. libFuzzer saves
// the input and prints where it was: the stack has the step.
class TimeLimit {
 public:
  TimeLimit() {
    std::signal(SIGPROF, end);
    set(static_cast<time_t>(10 * kMostSeconds));
  }
  ~TimeLimit() { set(0); }
  TimeLimit(const TimeLimit&) = delete;
  TimeLimit& operator=(const TimeLimit&) = delete;

 private:
  static void end(int) {
    const auto print = [](const char* text) {
      if (write(STDERR_FILENO, text, std::strlen(text)) < 0) std::_Exit(1);
    };
    print("too much processor time for one input, while ");
    print(doing());
    print("\n");
    std::abort();
  }
  static void set(time_t seconds) {
    const itimerval time{{0, 0}, {seconds, 0}};
    setitimer(ITIMER_PROF, &time, nullptr);
  }
};

}  // namespace niwaki::fuzz
