#include "graph/dim.h"

#include <algorithm>
#include <limits>
#include <optional>

namespace niwaki {

struct Dim::Pair {
  Dim left, right;
  int64_t operations;
};

namespace {

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min(), kMost = std::numeric_limits<int64_t>::max();

std::optional<int64_t> sum(int64_t a, int64_t b) {
  if (b > 0 ? a > kMost - b : a < kLeast - b) return std::nullopt;
  return a + b;
}

std::optional<int64_t> product(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  if (a == -1) return b == kLeast ? std::nullopt : std::optional(-b);
  if (b == -1) return product(b, a);
  const bool fits = (a > 0) == (b > 0) ? (a > 0 ? a <= kMost / b : a >= kMost / b) : (a > 0 ? b >= kLeast / a : a >= kLeast / b);
  if (!fits) return std::nullopt;
  return a * b;
}

// a / b rounded down, b not 0.
std::optional<int64_t> quotient(int64_t a, int64_t b) {
  if (b == -1) return product(a, -1);
  return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

// Of the divisor's sign, b not 0.
int64_t remainder(int64_t a, int64_t b) {
  if (b == -1) return 0;
  const int64_t left = a % b;
  return left != 0 && (left < 0) != (b < 0) ? left + b : left;
}

const char* symbol(Dim::Kind kind) {
  switch (kind) {
    case Dim::Kind::add: return " + ";
    case Dim::Kind::sub: return " - ";
    case Dim::Kind::mul: return " * ";
    case Dim::Kind::floor_div: return " // ";
    case Dim::Kind::mod: return " % ";
    default: return "";
  }
}

int64_t calculate(Dim::Kind kind, int64_t a, int64_t b) {
  const auto refuse = [&](const char* why) -> int64_t {
    throw DimError("the size " + std::to_string(a) + symbol(kind) + std::to_string(b) + " " + why);
  };
  std::optional<int64_t> result;
  switch (kind) {
    case Dim::Kind::add: result = sum(a, b); break;
    case Dim::Kind::sub: result = b == kLeast ? (a < 0 ? std::optional(a - b) : std::nullopt) : sum(a, -b); break;
    case Dim::Kind::mul: result = product(a, b); break;
    case Dim::Kind::floor_div: result = b == 0 ? refuse("divides by zero") : quotient(a, b); break;
    case Dim::Kind::mod: result = b == 0 ? refuse("divides by zero") : remainder(a, b); break;
    case Dim::Kind::min: result = std::min(a, b); break;
    case Dim::Kind::max: result = std::max(a, b); break;
    default: throw Error(Status::internal, "A size is no operation.");
  }
  return result ? *result : refuse("does not fit 64 bits");
}

bool is_constant(const Dim& dim, int64_t value) { return dim.is_constant() && dim.value() == value; }

// x and c of x + c, of x * c: constants stand on the right. x + 0 and x * 1 of everything else.
struct Split {
  Dim rest;
  int64_t constant;
};

Split split(const Dim& dim, Dim::Kind kind) {
  if (dim.kind() == kind && dim.right().is_constant()) return {dim.left(), dim.right().value()};
  return {dim, kind == Dim::Kind::mul ? 1 : 0};
}

bool has_constant(const Dim& dim, Dim::Kind kind) { return dim.kind() == kind && dim.right().is_constant(); }

Dim apply(Dim::Kind kind, const Dim& a, const Dim& b) {
  switch (kind) {
    case Dim::Kind::add: return a + b;
    case Dim::Kind::sub: return a - b;
    case Dim::Kind::mul: return a * b;
    case Dim::Kind::floor_div: return floor_div(a, b);
    case Dim::Kind::mod: return mod(a, b);
    case Dim::Kind::min: return min(a, b);
    case Dim::Kind::max: return max(a, b);
    default: throw Error(Status::internal, "A size is no operation.");
  }
}

}  // namespace

Dim Dim::size(int64_t index) {
  Dim dim(index);
  dim.kind_ = Kind::size;
  return dim;
}

Dim Dim::unknown() {
  Dim dim;
  dim.kind_ = Kind::unknown;
  return dim;
}

const Dim& Dim::left() const { return pair_->left; }
const Dim& Dim::right() const { return pair_->right; }
int64_t Dim::operations() const { return pair_ ? pair_->operations : 0; }

Dim Dim::combine(Kind kind, const Dim& a, const Dim& b) {
  if (a.is_unknown() || b.is_unknown()) return unknown();
  if (a.is_constant() && b.is_constant()) return calculate(kind, a.value_, b.value_);
  const int depth = 1 + std::max(a.depth_, b.depth_);
  const int64_t operations = 1 + a.operations() + b.operations();
  if (depth > kMaxDimDepth || operations > kMaxDimOperations) return unknown();
  Dim dim;
  dim.kind_ = kind;
  dim.depth_ = depth;
  dim.pair_ = std::make_shared<const Pair>(Pair{a, b, operations});
  return dim;
}

int64_t Dim::evaluate(std::span<const int64_t> sizes) const {
  switch (kind_) {
    case Kind::constant: return value_;
    case Kind::size:
      if (value_ < 0 || static_cast<size_t>(value_) >= sizes.size() || sizes[static_cast<size_t>(value_)] < 0)
        throw DimError("a free size in it is not known");
      return sizes[static_cast<size_t>(value_)];
    case Kind::unknown: throw DimError("the size is not known");
    default: return calculate(kind_, left().evaluate(sizes), right().evaluate(sizes));
  }
}

Dim Dim::substitute(std::span<const int64_t> sizes) const {
  switch (kind_) {
    case Kind::constant:
    case Kind::unknown: return *this;
    case Kind::size: {
      const bool known = value_ >= 0 && static_cast<size_t>(value_) < sizes.size() && sizes[static_cast<size_t>(value_)] >= 0;
      return known ? Dim(sizes[static_cast<size_t>(value_)]) : *this;
    }
    default: return apply(kind_, left().substitute(sizes), right().substitute(sizes));
  }
}

std::string Dim::text(std::span<const std::string> names) const {
  const auto rank = [](const Dim& dim) {  // how strongly it binds
    if (dim.kind_ == Kind::add || dim.kind_ == Kind::sub) return 1;
    return dim.kind_ == Kind::mul || dim.kind_ == Kind::floor_div || dim.kind_ == Kind::mod ? 2 : 3;
  };
  switch (kind_) {
    case Kind::constant: return std::to_string(value_);
    case Kind::unknown: return "?";
    case Kind::size: {
      const bool named = value_ >= 0 && static_cast<size_t>(value_) < names.size();
      return named ? names[static_cast<size_t>(value_)] : "size" + std::to_string(value_);
    }
    case Kind::min:
    case Kind::max: return (kind_ == Kind::min ? "min(" : "max(") + left().text(names) + ", " + right().text(names) + ")";
    default: break;
  }
  const auto part = [&](const Dim& dim, bool bare) { return bare ? dim.text(names) : "(" + dim.text(names) + ")"; };
  const std::string first = part(left(), rank(left()) >= rank(*this));
  if (kind_ == Kind::add && right().is_constant() && right().value_ < 0 && right().value_ > kLeast)
    return first + " - " + std::to_string(-right().value_);
  return first + symbol(kind_) + part(right(), rank(right()) > rank(*this) || (kind_ == Kind::add && rank(right()) == 1));
}

int64_t Dim::largest_size() const {
  if (kind_ == Kind::size) return value_;
  return pair_ ? std::max(left().largest_size(), right().largest_size()) : -1;
}

bool Dim::never_negative() const {
  switch (kind_) {
    case Kind::constant: return value_ >= 0;
    case Kind::size: return true;
    case Kind::add:
    case Kind::mul:
    case Kind::floor_div:
    case Kind::min: return left().never_negative() && right().never_negative();
    case Kind::max: return left().never_negative() || right().never_negative();
    case Kind::mod: return right().never_negative();
    default: return false;
  }
}

bool Dim::operator==(const Dim& other) const {
  if (kind_ != other.kind_ || value_ != other.value_ || depth_ != other.depth_) return false;
  if (kind_ == Kind::unknown) return false;
  return pair_ == other.pair_ || (left() == other.left() && right() == other.right());
}

// Constants are collected on the right of sums and products: (x + a) + b = x + (a + b). Where that would not fit 64 bits, the expression stays.

Dim operator+(const Dim& a, const Dim& b) {
  using enum Dim::Kind;
  if (a.is_constant() && !b.is_constant()) return b + a;
  if (is_constant(b, 0) || a.is_unknown()) return a;
  if (b.is_constant() || has_constant(a, add) || has_constant(b, add)) {
    const Split x = a.is_constant() ? Split{0, a.value()} : split(a, add),
                y = b.is_constant() ? Split{0, b.value()} : split(b, add);
    const auto constant = sum(x.constant, y.constant);
    if (constant) {
      const Dim rest = x.rest + y.rest;
      return *constant == 0 ? rest : Dim::combine(add, rest, *constant);
    }
    return Dim::combine(add, a, b);
  }
  if (a.kind() == sub && a.right() == b) return a.left();
  if (b.kind() == sub && b.right() == a) return b.left();
  const Split x = split(a, mul), y = split(b, mul);
  if (x.rest == y.rest) {
    if (const auto factor = sum(x.constant, y.constant)) return x.rest * *factor;
  }
  return Dim::combine(add, a, b);
}

Dim operator-(const Dim& a, const Dim& b) {
  using enum Dim::Kind;
  if (b.is_constant() && b.value() != kLeast && !a.is_constant()) return a + -b.value();
  if (a == b) return 0;
  if (has_constant(a, add) || has_constant(b, add)) {
    const Split x = a.is_constant() ? Split{0, a.value()} : split(a, add), y = split(b, add);
    const auto constant = y.constant == kLeast ? std::nullopt : sum(x.constant, -y.constant);
    if (constant && a.is_constant()) return Dim(*constant) - y.rest;
    if (constant) return (x.rest - y.rest) + *constant;
  }
  if (a.kind() == add && a.right() == b) return a.left();
  if (a.kind() == add && a.left() == b) return a.right();
  const Split x = split(a, mul), y = split(b, mul);
  if (!a.is_constant() && x.rest == y.rest && y.constant != kLeast) {
    if (const auto factor = sum(x.constant, -y.constant)) return x.rest * *factor;
  }
  return Dim::combine(sub, a, b);
}

Dim operator*(const Dim& a, const Dim& b) {
  using enum Dim::Kind;
  if (a.is_constant() && !b.is_constant()) return b * a;
  if (a.is_unknown() || b.is_unknown()) return Dim::unknown();
  if (is_constant(b, 1)) return a;
  if (is_constant(b, 0)) return 0;
  if (a.is_constant()) return Dim::combine(mul, a, b);
  if (b.is_constant()) {
    if (has_constant(a, mul)) {
      if (const auto factor = product(a.right().value(), b.value())) return a.left() * *factor;
    }
    if (has_constant(a, add)) {
      if (const auto constant = product(a.right().value(), b.value())) return a.left() * b + *constant;
    }
    return Dim::combine(mul, a, b);
  }
  if (has_constant(a, mul)) return a.left() * b * a.right();
  if (has_constant(b, mul)) return a * b.left() * b.right();
  return Dim::combine(mul, a, b);
}

Dim floor_div(const Dim& a, const Dim& b) {
  if (is_constant(b, 0)) throw DimError("the size divides by zero");
  if (is_constant(b, 1)) return a;
  if (a.is_constant() || a.is_unknown() || !b.is_constant() || b.value() < 0) return Dim::combine(Dim::Kind::floor_div, a, b);
  const Split x = split(a, Dim::Kind::add);
  if (has_constant(x.rest, Dim::Kind::floor_div) && x.rest.right().value() > 0) {  // (y // d + c) // b = (y + c d) // (d b)
    const auto constant = product(x.constant, x.rest.right().value()), divisor = product(x.rest.right().value(), b.value());
    if (constant && divisor) return floor_div(x.rest.left() + *constant, *divisor);
  }
  const int64_t whole = *quotient(x.constant, b.value()), left = remainder(x.constant, b.value());
  const Split y = split(x.rest, Dim::Kind::mul);
  if (y.constant % b.value() == 0)
    return y.rest * (y.constant / b.value()) + whole;  // what is left of the constant is less than b
  if (whole != 0) return Dim::combine(Dim::Kind::floor_div, x.rest + left, b) + whole;
  return Dim::combine(Dim::Kind::floor_div, a, b);
}

Dim mod(const Dim& a, const Dim& b) {
  if (is_constant(b, 0)) throw DimError("the size divides by zero");
  if (a.is_constant() || a.is_unknown() || !b.is_constant() || b.value() < 0) return Dim::combine(Dim::Kind::mod, a, b);
  const Split x = split(a, Dim::Kind::add);
  const int64_t left = remainder(x.constant, b.value());
  if (split(x.rest, Dim::Kind::mul).constant % b.value() == 0) return left;
  return Dim::combine(Dim::Kind::mod, x.rest + left, b);
}

Dim min(const Dim& a, const Dim& b) {
  if (a.is_constant() && !b.is_constant()) return min(b, a);
  if (is_constant(b, kMost) || a == b) return a;
  if (b.is_constant() && b.value() <= 0 && a.never_negative()) return b;
  if (b.is_constant() && has_constant(a, Dim::Kind::min)) return min(a.left(), min(a.right(), b));
  return Dim::combine(Dim::Kind::min, a, b);
}

Dim max(const Dim& a, const Dim& b) {
  if (a.is_constant() && !b.is_constant()) return max(b, a);
  if (is_constant(b, kLeast) || a == b) return a;
  if (b.is_constant() && b.value() <= 0 && a.never_negative()) return a;
  if (b.is_constant() && has_constant(a, Dim::Kind::max)) return max(a.left(), max(a.right(), b));
  return Dim::combine(Dim::Kind::max, a, b);
}

}  // namespace niwaki
