#include "file/expressions.h"

#include <string>

#include "base/status.h"

namespace niwaki {
namespace {

using Kind = Dim::Kind;

// The numbers that stand in files.
static_assert(static_cast<int>(Kind::constant) == 0 && static_cast<int>(Kind::size) == 1 && static_cast<int>(Kind::add) == 2 &&
              static_cast<int>(Kind::sub) == 3 && static_cast<int>(Kind::mul) == 4 && static_cast<int>(Kind::floor_div) == 5 &&
              static_cast<int>(Kind::mod) == 6 && static_cast<int>(Kind::min) == 7 && static_cast<int>(Kind::max) == 8);

constexpr uint64_t kOperationBytes = 2 * sizeof(Dim) + 64;  // in memory, with what the heap adds

Dim combine(Kind kind, const Dim& a, const Dim& b) {
  switch (kind) {
    case Kind::add: return a + b;
    case Kind::sub: return a - b;
    case Kind::mul: return a * b;
    case Kind::floor_div: return floor_div(a, b);
    case Kind::mod: return mod(a, b);
    case Kind::min: return min(a, b);
    case Kind::max: return max(a, b);
    case Kind::constant:
    case Kind::size:
    case Kind::unknown: break;
  }
  throw Error(Status::internal, "An expression of sizes has no such operation.");
}

Dim read(WordReader& in, size_t sizes, int depth) {
  const auto code = in.number<uint8_t>();
  if (code > static_cast<uint8_t>(Kind::max)) in.refuse("an operation of an expression");
  const auto kind = static_cast<Kind>(code);
  if (kind == Kind::constant) return Dim(in.integer());
  if (kind == Kind::size) {
    const uint32_t index = in.count();
    if (index >= sizes) in.refuse("free size " + std::to_string(index) + " does not exist");
    return Dim::size(index);
  }
  if (depth == kMaxDimDepth) in.refuse("an expression is nested more than " + std::to_string(kMaxDimDepth) + " deep");
  in.charge(kOperationBytes);
  const Dim left = read(in, sizes, depth + 1);
  return combine(kind, left, read(in, sizes, depth + 1));
}

}  // namespace

void write_expression(const Dim& dim, WordWriter& out) {
  if (dim.kind() == Kind::unknown)
    throw Error(Status::invalid_argument, "A size that is known only when the network runs cannot be written into a file.");
  out.number(static_cast<uint8_t>(dim.kind()));
  if (dim.kind() == Kind::constant) {
    out.integer(dim.value());
  } else if (dim.kind() == Kind::size) {
    out.natural(static_cast<uint64_t>(dim.value()));
  } else {
    write_expression(dim.left(), out);
    write_expression(dim.right(), out);
  }
}

Dim read_expression(WordReader& in, size_t sizes) {
  Dim dim = read(in, sizes, 0);
  // What Dim does not follow any further.
  if (dim.kind() == Kind::unknown) in.refuse("an expression has too many operations");
  return dim;
}

}  // namespace niwaki
