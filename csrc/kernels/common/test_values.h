// What the tests of kernels on row-major values share: numbers of all sorts, vectors with a guard behind them, and comparing.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "kernels/common/test_planes.h"
#include "testing/test.h"

namespace niwaki::testing {

inline constexpr float kNaN = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

inline float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Zeros, infinities, NaN, the ends of the range, and numbers that functions treat in a special way.
inline const std::vector<float>& special_floats() {
  static const std::vector<float> all = {0.0f,     -0.0f,  1.0f,    -1.0f,   kInf,   -kInf,   kNaN,   0.5f,
                                         -0.5f,    2.0f,   -2.0f,   3.0f,    1e-45f, -1e-45f, 1e-38f, 3.4028235e38f,
                                         -3.4e38f, 88.73f, -104.0f, 1e10f,   -1e10f, 1.5f,    -2.5f,  16777216.0f,
                                         -7.0f,    0.1f,   100.0f,  -100.0f, 1e-20f, -3.0f};
  return all;
}
// One of those, or any bits at all, or, mostly, a number within [-4, 4].
inline float any_float(Random& random) {
  const int32_t kind = random.integer(0, 15);
  if (kind == 0) return special_floats()[random.next() % special_floats().size()];
  if (kind <= 2) return float_of_bits(random.next() * 2u + (random.next() & 1));
  return random.real(-4.0f, 4.0f);
}
inline int64_t any_integer(Random& random) {
  const int64_t bits = static_cast<int64_t>(uint64_t{random.next()} << 33 ^ uint64_t{random.next()} << 11 ^ random.next());
  return random.integer(0, 7) == 0 ? bits : random.integer(-9, 9);
}

inline std::vector<float> any_floats(Random& random, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = any_float(random);
  return values;
}
inline std::vector<float> reals(Random& random, int64_t count, float low = -2.0f, float high = 2.0f) {
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = random.real(low, high);
  return values;
}

// The same bits, or NaN both.
inline bool same(float a, float b) { return (a != a && b != b) || std::memcmp(&a, &b, sizeof(a)) == 0; }
template <typename T>
bool same(T a, T b) {
  return a == b;
}

// An output: `count` elements that nobody has written, with a guard behind them.
template <typename T>
class Output {
 public:
  explicit Output(int64_t count) : count_(static_cast<size_t>(count)), bytes_((count_ + kGuard) * sizeof(T), 0xa5) {}
  T* data() { return reinterpret_cast<T*>(bytes_.data()); }
  T operator[](int64_t index) const { return reinterpret_cast<const T*>(bytes_.data())[index]; }
  int64_t size() const { return static_cast<int64_t>(count_); }
  bool guard_intact() const {
    for (size_t i = count_ * sizeof(T); i < bytes_.size(); ++i)
      if (bytes_[i] != 0xa5) return false;
    return true;
  }

 private:
  static constexpr size_t kGuard = 32;
  size_t count_;
  std::vector<uint8_t> bytes_;
};

template <typename T>
void check_equals(const Output<T>& found, const Output<T>& wanted, const std::string& what) {
  if (!found.guard_intact()) fail(__FILE__, __LINE__, what + ": wrote behind the last element");
  for (int64_t i = 0; i < wanted.size(); ++i) {
    if (same(found[i], wanted[i])) continue;
    std::ostringstream message;
    message.precision(9);
    message << what << ": element " << i << " is " << shown(found[i]) << " instead of " << shown(wanted[i]);
    return fail(__FILE__, __LINE__, message.str());
  }
}

// How far `found` is from `wanted`, in units of the last place of a float32 of that size. Infinity is 2^128 here, so that what is next to it is near.
inline double ulps(float found, double wanted) {
  if (std::isnan(found) || std::isnan(wanted)) return std::isnan(found) && std::isnan(wanted) ? 0.0 : kInf;
  const double end = std::ldexp(1.0, 128);
  const double a = std::min(end, std::max(-end, static_cast<double>(found))), b = std::min(end, std::max(-end, wanted));
  int exponent;
  std::frexp(b, &exponent);
  return std::fabs(a - b) / std::ldexp(1.0, std::max(exponent - 24, -149));
}

}  // namespace niwaki::testing
