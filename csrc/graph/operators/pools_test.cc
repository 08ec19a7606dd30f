// Pools: sizes as torch has them.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(pools_count_as_torch_does) {
  struct Case {
    int64_t size, kernel, stride, padding, dilation, ceil, expected;
  };
  for (const Case& c :
       {Case{112, 3, 2, 1, 1, 0, 56}, Case{112, 3, 2, 0, 1, 1, 56}, Case{5, 2, 2, 0, 1, 1, 3}, Case{5, 2, 2, 0, 1, 0, 2},
        Case{4, 1, 3, 0, 1, 1, 2}, Case{4, 1, 4, 0, 1, 1, 1}, Case{3, 2, 3, 1, 1, 1, 2}, Case{2, 2, 3, 1, 1, 1, 1},
        Case{7, 3, 1, 1, 2, 0, 5}, Case{1, 3, 2, 1, 1, 0, 1}, Case{55, 3, 2, 0, 1, 1, 27}, Case{54, 3, 2, 0, 1, 1, 27},
        Case{1, 2, 2, 0, 1, 1, 1}, Case{2, 4, 3, 0, 1, 1, 1}, Case{10, 5, 3, 2, 2, 1, 3}, Case{12, 4, 4, 1, 3, 1, 2}}) {
    const Attributes attributes = {{"kernel", Dims{c.kernel}},
                                   {"stride", Dims{c.stride}},
                                   {"padding", Dims{c.padding}},
                                   {"dilation", Dims{c.dilation}},
                                   {"ceil_mode", Dims{c.ceil}}};
    const std::string out = std::to_string(c.expected);
    CHECK_EQ(made("max_pool2d", {u8({1, 8, c.size, c.size})}, attributes, {}, kScale), "uint8: 1 8 " + out + " " + out);
    Attributes more = attributes;
    more["function"] = word("max");
    CHECK_EQ(made("pool", {f32({1, 8, c.size})}, more), "float32: 1 8 " + out);
  }
  const Attributes two = {{"kernel", Dims{3}}, {"stride", Dims{2}}, {"ceil_mode", Dims{1}}};
  CHECK_THROWS(made("max_pool2d", {u8({1, 8, 4, 1})}, two, {}, kScale),
               "an input 1 pixels wide is too small for its kernel of 3");
  CHECK_THROWS(made("avg_pool2d", {u8({1, 8, 4, 4})}, {{"kernel", Dims{2}}, {"padding", Dims{3}}}, {}, kScale),
               "wholly in the padding");
}

TEST(pools_of_one_to_three_axes) {
  CHECK_EQ(
      made("pool", {f32({2, 3, 8, 9, 10})},
           {{"function", word("average")}, {"kernel", Dims{2, 3, 4}}, {"stride", Dims{2}}, {"padding", Dims{0, 1, 1, 1, 2, 0}}}),
      "float32: 2 3 4 5 5");
  CHECK_THROWS(made("pool", {f32({2, 3, 8})}, {{"function", word("average")}, {"kernel", Dims{2}}, {"dilation", Dims{2}}}),
               "an average takes no dilation");
  CHECK_THROWS(made("pool", {f32({2, 8})}, {{"function", word("max")}, {"kernel", Dims{2}}}), "must have rank 3 to 5, not 2");
  CHECK_THROWS(made("pool", {f32({2, 3, 8})}, {{"function", word("max")}, {"kernel", Dims{2, 2}}}), "must have 1 values, not 2");
  CHECK_EQ(made("adaptive_pool", {f32({2, 3, 8, 9})}, {{"function", word("max")}, {"size", Dims{3, 20}}}), "float32: 2 3 3 20");
  CHECK_THROWS(made("adaptive_pool", {f32({2, 3, 0})}, {{"function", word("max")}, {"size", Dims{3}}}),
               "its input [2, 3, 0] is empty");
  CHECK_EQ(made("adaptive_avg_pool2d", {u8({2, 3, 8, 9})}, {{"size", Dims{1}}}, {}, kScale), "uint8: 2 3 1 1");
}

TEST(pools_do_not_overflow) {
  CHECK_THROWS(made("avg_pool2d", {u8({1, 1, 9000, 9000})}, {{"kernel", Dims{3000}}}, {}, kScale), "averages 9000000 pixels");
  CHECK_THROWS(made("adaptive_avg_pool2d", {u8({1, 1, 3000, 3000})}, {{"size", Dims{1}}}, {}, kScale), "could overflow int32");
}

}  // namespace
}  // namespace niwaki
