// Sizes of values as expressions of the free sizes of a network's inputs: constants, named sizes, sums, products, quotients.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"

namespace niwaki {

// Sizes that cannot be: a result beyond int64, a division by zero. Those who know the node or the input add its name.
class DimError : public Error {
 public:
  explicit DimError(const std::string& message) : Error(Status::invalid_argument, message) {}
};

// Immutable and cheap to copy. Arithmetic folds constants and the usual identities; it throws DimError where a constant result overflows
// int64 or divides by zero. A result that is deeper than kMaxDimDepth or has more than kMaxDimOperations is unknown: evaluating recurses,
// and an expression that holds another one twice has twice its operations. Unknown sizes are refused wherever a run needs the number.
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

  // The number that it is where free size i is sizes[i]. Throws DimError for overflow, division by zero and unknown sizes.
  int64_t evaluate(std::span<const int64_t> sizes) const;
  // With constants in place of the sizes that are not negative in `sizes`.
  Dim substitute(std::span<const int64_t> sizes) const;
  // For people: "batch * 4 + 1". names[i]: of free size i.
  std::string text(std::span<const std::string> names) const;
  int64_t largest_size() const;  // the highest number of a free size in it, -1 where there is none
  int depth() const { return depth_; }
  int64_t operations() const;
  bool never_negative() const;  // for sure: sizes are 0 or more

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

inline constexpr int kMaxDimDepth = 64;
inline constexpr int64_t kMaxDimOperations = 1024;

using Dims = std::vector<Dim>;
using Sizes = std::vector<int64_t>;

}  // namespace niwaki
