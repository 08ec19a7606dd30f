// Products of float32 values: shapes as torch has them.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(products_matmul) {
  const auto product = [](Sizes a, Sizes b, int64_t transpose = 0) {
    return made("matmul", {f32(std::move(a)), f32(std::move(b))}, {{"transpose_b", Dims{transpose}}});
  };
  CHECK_EQ(product({2, 3}, {3, 4}), "float32: 2 4");
  CHECK_EQ(product({2, 3}, {4, 3}, 1), "float32: 2 4");
  CHECK_EQ(product({3}, {3}), "float32: ");
  CHECK_EQ(product({1, 2, 3}, {3}), "float32: 1 2");
  CHECK_EQ(product({3}, {5, 3, 4}), "float32: 5 4");
  CHECK_EQ(product({5, 1, 2, 3}, {6, 3, 4}), "float32: 5 6 2 4");
  CHECK_EQ(product({0, 3}, {3, 0}), "float32: 0 0");
  CHECK_THROWS(product({2, 3}, {4, 3}), "its inputs are [2, 3] and [4, 3]: sums over 3 and 4 elements do not fit");
  CHECK_THROWS(product({2, 2, 3}, {3, 3, 4}), "which do not broadcast");
  CHECK_THROWS(product({2, 3}, {3}, 1), "cannot transpose an input of rank 1");
  CHECK_THROWS(product({}, {3}), "must have rank 1 to 8, not 0");
}

TEST(products_attention) {
  const auto attend = [](Sizes q, Sizes k, Sizes v, std::optional<Input> mask = std::nullopt) {
    std::vector<Input> inputs = {f32(std::move(q)), f32(std::move(k)), f32(std::move(v))};
    if (mask) inputs.push_back(*mask);
    return made("attention", inputs, {{"scale", numbers({0.5})}});
  };
  CHECK_EQ(attend({2, 8, 5, 16}, {2, 8, 7, 16}, {2, 8, 7, 12}), "float32: 2 8 5 12");
  CHECK_EQ(attend({5, 16}, {7, 16}, {7, 12}), "float32: 5 12");
  CHECK_EQ(attend({1, 2, 3, 4}, {5, 2, 6, 4}, {5, 2, 6, 7}), "float32: 5 2 3 7");
  CHECK_EQ(attend({1, 3, 4}, {2, 6, 4}, {2, 6, 7}, f32({6})), "float32: 2 3 7");
  CHECK_EQ(attend({2, 8, 5, 16}, {2, 8, 7, 16}, {2, 8, 7, 16}, boolean({2, 1, 1, 7})), "float32: 2 8 5 16");
  CHECK_THROWS(attend({5, 16}, {7, 15}, {7, 12}), "[..., L, E], [..., S, E] and [..., S, Ev] are expected");
  CHECK_THROWS(attend({5, 16}, {7, 16}, {6, 12}), "are expected");
  CHECK_THROWS(attend({5, 16}, {7, 16}, {7, 12}, f32({5, 6})), "its mask [5, 6] does not broadcast to [5, 7]");
  CHECK_THROWS(attend({5, 16}, {7, 16}, {7, 12}, f32({2, 5, 7})), "does not broadcast to [5, 7]");
  CHECK_THROWS(attend({5, 16}, {7, 16}, {7, 12}, i64({5, 7})), "its input 'mask' is int64");
}

}  // namespace
}  // namespace niwaki
