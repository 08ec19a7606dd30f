// niwaki_tests [PART OF A NAME ...]: runs the tests whose name contains one of the parts, or all. Names those that take long.
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>

#include "testing/test.h"

namespace niwaki::testing {

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

static int failures_of_test = 0;

void fail(const char* file, int line, const std::string& message) {
  if (++failures_of_test <= 5) std::printf("  %s:%d: %s\n", file, line, message.c_str());
}

}  // namespace niwaki::testing

int main(int argc, char** argv) {
  using namespace niwaki::testing;
  int passed = 0, failed = 0;
  for (const Test& test : tests()) {
    bool wanted = argc < 2;
    for (int i = 1; i < argc; ++i) wanted = wanted || std::strstr(test.name, argv[i]) != nullptr;
    if (!wanted) continue;
    failures_of_test = 0;
    const std::clock_t begin = std::clock();
    try {
      test.run();
    } catch (const Stop&) {
    } catch (const std::exception& error) {
      fail(test.name, 0, std::string("unexpected exception: ") + error.what());
    }
    if (failures_of_test > 0) std::printf("FAILED %s (%d checks)\n", test.name, failures_of_test);
    (failures_of_test > 0 ? failed : passed) += 1;
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    if (seconds > 1.0) std::printf("%s: %.1f s of processor time\n", test.name, seconds);
    std::fflush(stdout);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0;
}
