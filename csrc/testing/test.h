// A test harness of one header: TEST registers, CHECK counts and goes on, REQUIRE stops the test. See testing/main.cc.
#pragma once

#include <cstdint>
#include <functional>
#include <sstream>
#include <string>
#include <type_traits>
#include <vector>

namespace niwaki::testing {

struct Test {
  const char* name;
  void (*run)();
};

std::vector<Test>& tests();
void fail(const char* file, int line, const std::string& message);  // counts; only the first few of a test are printed
struct Stop {};

struct Register {
  Register(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

// Small integers as numbers, not as characters.
template <typename T>
auto shown(const T& value) {
  if constexpr (std::is_arithmetic_v<T>) return +value;
  else return value;
}

template <typename A, typename B>
void check_equal(const A& a, const B& b, const char* text, const char* file, int line) {
  if (a == b) return;
  std::ostringstream message;
  message << text << ": " << shown(a) << " != " << shown(b);
  fail(file, line, message.str());
}

// A small generator with a fixed seed: the same values on every machine.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435761u + 1) {}
  uint32_t next() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<uint32_t>(state_ >> 33);
  }
  int32_t integer(int32_t low, int32_t high) {
    return low + static_cast<int32_t>(next() % static_cast<uint32_t>(high - low + 1));
  }
  float real(float low, float high) { return low + (high - low) * (static_cast<float>(next()) / 2147483648.0f); }

 private:
  uint64_t state_;
};

}  // namespace niwaki::testing

#define NIWAKI_JOIN2(a, b) a##b
#define NIWAKI_JOIN(a, b) NIWAKI_JOIN2(a, b)
#define TEST(name)                                                                                        \
  static void NIWAKI_JOIN(test_, name)();                                                                 \
  static const ::niwaki::testing::Register NIWAKI_JOIN(register_, name)(#name, NIWAKI_JOIN(test_, name)); \
  static void NIWAKI_JOIN(test_, name)()
#define CHECK(condition)                                                       \
  do {                                                                         \
    if (!(condition)) ::niwaki::testing::fail(__FILE__, __LINE__, #condition); \
  } while (false)
#define CHECK_EQ(a, b) ::niwaki::testing::check_equal((a), (b), #a " == " #b, __FILE__, __LINE__)
#define REQUIRE(condition)                                     \
  do {                                                         \
    if (!(condition)) {                                        \
      ::niwaki::testing::fail(__FILE__, __LINE__, #condition); \
      throw ::niwaki::testing::Stop{};                         \
    }                                                          \
  } while (false)
#define CHECK_THROWS(expression, part)                                                                         \
  do {                                                                                                         \
    bool thrown = false;                                                                                       \
    try {                                                                                                      \
      (void)(expression);                                                                                      \
    } catch (const std::exception& error) {                                                                    \
      thrown = true;                                                                                           \
      if (std::string(error.what()).find(part) == std::string::npos)                                           \
        ::niwaki::testing::fail(__FILE__, __LINE__, std::string("message lacks '" part "': ") + error.what()); \
    }                                                                                                          \
    if (!thrown) ::niwaki::testing::fail(__FILE__, __LINE__, #expression " does not throw");                   \
  } while (false)
