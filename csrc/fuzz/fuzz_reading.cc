#include <cstdio>
#include <cstdlib>

#include "fuzz/checks.h"
#include "fuzz/time_limit.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const niwaki::fuzz::TimeLimit limit;
  const std::string wrong = niwaki::fuzz::check_reading({data, size});
  if (wrong.empty()) return 0;
  std::fprintf(stderr, "%s\n", wrong.c_str());
  std::abort();
}
