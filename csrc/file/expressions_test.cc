// Expressions in a file: round trips, and those that are not what they should be.
#include "file/expressions.h"

#include "file/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

constexpr uint8_t kConstant = 0, kSize = 1, kAdd = 2, kMul = 4, kFloorDiv = 5, kMod = 6;

Dim read_from(const std::vector<uint8_t>& bytes, size_t sizes = 2) {
  const std::string path = "test";
  WordReader in(bytes, format::kVersion, path, "the graph",
                [](const std::string&, const std::string& what) { throw Error(Status::invalid_file, what); });
  in.limit(1 << 20);
  const Dim dim = read_expression(in, sizes);
  in.expect_end();
  return dim;
}

std::vector<uint8_t> written(const Dim& dim) {
  WordWriter out;
  write_expression(dim, out);
  return out.take();
}

TEST(expressions_round_trip) {
  const Dim a = Dim::size(0), b = Dim::size(1);
  for (const Dim& dim : {Dim(0), Dim(-1), Dim(INT64_MAX), Dim(INT64_MIN), a, b, a + 3, a - b, a * b * 7, floor_div(a + 5, 2),
                         mod(b, 4), min(a, b), max(a * 2 - 3, mod(a * b, b + 1)), floor_div(a * b, max(b, 1))}) {
    const auto bytes = written(dim);
    CHECK(read_from(bytes) == dim);
    for (size_t size = 0; size < bytes.size(); ++size)
      CHECK_THROWS(read_from({bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size)}), "ends early");
  }
  CHECK_EQ(written(5).size(), size_t{2});
  CHECK_THROWS(written(Dim::unknown()), "known only when the network runs");
}

TEST(expressions_that_are_none_are_refused) {
  CHECK_THROWS(read_from({kSize, 2}), "free size 2 does not exist");
  CHECK_THROWS(read_from({9, kSize, 0, kSize, 0}), "an operation of an expression");
  CHECK_THROWS(read_from({255}), "an operation of an expression");
  CHECK_THROWS(read_from({kSize, 0, 0}), "followed by something else");
  // 7 // 0, 7 % 0, a // 0
  CHECK_THROWS(read_from({kFloorDiv, kConstant, 14, kConstant, 0}), "divides by zero");
  CHECK_THROWS(read_from({kMod, kConstant, 14, kConstant, 0}), "divides by zero");
  CHECK_THROWS(read_from({kFloorDiv, kSize, 0, kConstant, 0}), "divides by zero");
  // 2^62 * 4
  std::vector<uint8_t> large = {kMul, kConstant, 8, kConstant};
  for (int i = 0; i < 9; ++i) large.push_back(0x80);
  large.push_back(1);
  CHECK_THROWS(read_from(large), "does not fit 64 bits");
}

TEST(expressions_are_bounded) {
  // a + (b * (a + (b * ...
  const auto nested = [](int depth) {
    std::vector<uint8_t> bytes;
    for (int i = 0; i < depth; ++i) bytes.insert(bytes.end(), {i % 2 == 0 ? kAdd : kMul, kSize, static_cast<uint8_t>(i % 2)});
    bytes.insert(bytes.end(), {kSize, 0});
    return bytes;
  };
  CHECK_EQ(read_from(nested(kMaxDimDepth)).depth(), kMaxDimDepth);
  CHECK_THROWS(read_from(nested(kMaxDimDepth + 1)), "nested more than 64 deep");
  CHECK_THROWS(read_from(nested(1 << 18)), "nested more than 64 deep");
  // A full tree of 2^11 - 1 operations.
  std::vector<uint8_t> tree = {kMod, kSize, 0, kSize, 1};
  for (int i = 0; i < 10; ++i) {
    std::vector<uint8_t> both = {kMul};
    for (int side = 0; side < 2; ++side) both.insert(both.end(), tree.begin(), tree.end());
    tree = std::move(both);
  }
  CHECK_THROWS(read_from(tree), "too many operations");
}

}  // namespace
}  // namespace niwaki
