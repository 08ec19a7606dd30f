// Sizes of values as expressions of the free sizes of a network's inputs: constants, named sizes, sums, products, quotients.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace niwaki {

// Immutable and cheap to copy. Arithmetic folds constants and the usual identities; it throws Error(invalid_argument) where a constant
// result overflows int64 or divides by zero.
class Dim {
 public:
  enum class Kind : uint8_t { constant, size, add, sub, mul, floor_div, mod, min, max, unknown };

  Dim(int64_t value = 0) : value_(value) {}  // NOLINT: a constant is a Dim
  static Dim size(int64_t index);            // free size number `index` of the graph
  static Dim unknown();                      // known only when the network runs; whatever is computed from it is unknown, too

  Kind kind() const { return kind_; }
  bool is_constant() const { return kind_ == Kind::constant; }
  bool is_unknown() const { return kind_ == Kind::unknown; }
  int64_t value() const { return value_; }  // of a constant; the number of a size
  const Dim& left() const;                  // of an operation
  const Dim& right() const;

  // The number that it is where free size i is sizes[i]. Throws Error(invalid_argument) for overflow, division by zero and unknown sizes.
  int64_t evaluate(std::span<const int64_t> sizes) const;
  // With constants in place of the sizes that are not negative in `sizes`.
  Dim substitute(std::span<const int64_t> sizes) const;
  // For people: "batch * 4 + 1". names[i]: of free size i.
  std::string text(std::span<const std::string> names) const;
  int64_t largest_size() const;  // the highest number of a free size in it, -1 where there is none
  int depth() const { return depth_; }

  // Same expression; expressions that are written differently may be equal and are not known to be.
  bool operator==(const Dim& other) const;

  friend Dim operator+(const Dim& a, const Dim& b);
  friend Dim operator-(const Dim& a, const Dim& b);
  friend Dim operator*(const Dim& a, const Dim& b);
  friend Dim floor_div(const Dim& a, const Dim& b);  // rounds towards minus infinity, as Python does
  friend Dim mod(const Dim& a, const Dim& b);        // of the divisor's sign, as Python's
  friend Dim min(const Dim& a, const Dim& b);
  friend Dim max(const Dim& a, const Dim& b);

 private:
  struct Pair;
  static Dim combine(Kind kind, const Dim& a, const Dim& b);

  Kind kind_ = Kind::constant;
  int depth_ = 0;
  int64_t value_ = 0;
  std::shared_ptr<const Pair> pair_;
};

// Beyond this depth an expression is refused: a file may nest them, and evaluating recurses.
inline constexpr int kMaxDimDepth = 64;

using Dims = std::vector<Dim>;
using Sizes = std::vector<int64_t>;

}  // namespace niwaki
