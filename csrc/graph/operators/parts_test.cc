// Parts of values.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(parts_concat) {
  const auto joined = [](std::vector<Input> parts, int64_t axis) { return made("concat", parts, {{"axis", Dims{axis}}}); };
  CHECK_EQ(joined({f32({2, 3}), f32({2, 0}), f32({2, 4})}, 1), "float32: 2 7");
  CHECK_EQ(joined({i64({2})}, 0), "int64: 2");
  CHECK_THROWS(joined({f32({2, 3}), f32({3, 3})}, 1), "its inputs are [2, 3] and [3, 3]; they may only differ along axis 1");
  CHECK_THROWS(joined({f32({2, 3}), f32({2})}, 1), "its inputs have ranks 2 and 1");
  CHECK_THROWS(joined({f32({2, 3}), i64({2, 3})}, 1), "cast them to one type");
  CHECK_THROWS(joined({f32({2, 3})}, 2), "axis 2 is beyond the rank");
  CHECK_THROWS(joined({}, 0), "takes 1 to 4096 inputs, not 0");
  CHECK_EQ(made("concat", {u8({2, 3}), u8({4, 3})}, {{"axis", Dims{0}}}, {}, kScale), "uint8: 6 3");
}

TEST(parts_slice_by_pythons_rules) {
  struct Case {
    int64_t size, start, end, step;
    std::string expected;
  };
  for (const Case& c :
       {Case{9, -5, -1, 2, "2"}, Case{3, -5, -1, 2, "1"}, Case{9, 2, INT64_MAX, 3, "3"}, Case{9, 0, 100, 1, "9"},
        Case{9, 5, 2, 1, "0"}, Case{9, INT64_MIN, -20, 1, "0"}, Case{0, 0, 1, 1, "0"}, Case{1, -1, INT64_MAX, 1, "1"}})
    CHECK_EQ(made("slice", {f32({2, c.size})},
                  {{"axis", Dims{1}}, {"start", Dims{c.start}}, {"end", Dims{c.end}}, {"step", Dims{c.step}}}),
             "float32: 2 " + c.expected);
  CHECK_THROWS(made("slice", {f32({2, 3})}, {{"axis", Dims{1}}, {"step", Dims{0}}}), "'step' must lie in 1");
}

TEST(parts_slice_of_free_sizes) {
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "height"});
  const Dim height = net.size("height");
  const auto slice = [&](Dim start, Dim end, int64_t step = 1) {
    return net.dims(net.add("slice", {x}, {{"axis", Dims{1}}, {"start", Dims{start}}, {"end", Dims{end}}, {"step", Dims{step}}}));
  };
  CHECK_EQ(slice(0, INT64_MAX, 2), "batch, (height + 1) // 2");
  CHECK_EQ(slice(1, INT64_MAX), "batch, max(height - min(height, 1), 0)");
  CHECK_EQ(slice(0, floor_div(height, 2)), "batch, min(height // 2, height)");
  CHECK_EQ(slice(-3, INT64_MAX), "batch, max(height - max(height - 3, 0), 0)");
  CHECK_EQ(slice(height - 3, INT64_MAX), "batch, ?");  // may be negative: then it counts from the end
  CHECK_EQ(net.shape({{2, 10}}), "2 3");
  CHECK_EQ(net.shape({{2, 2}}), "2 1");
}

TEST(parts_pad) {
  const auto padded = [](const char* mode, Dims padding) {
    return made("pad", {f32({2, 3, 5})}, {{"padding", std::move(padding)}, {"mode", word(mode)}});
  };
  CHECK_EQ(padded("constant", {1, 0, 0, 2, -1, 3}), "float32: 3 5 7");
  CHECK_EQ(padded("constant", {0, 0, -3, 0, 0, 0}), "float32: 2 0 5");
  CHECK_EQ(padded("reflect", {0, 0, 2, 2, 4, -1}), "float32: 2 7 8");
  CHECK_EQ(padded("replicate", {0, 0, 9, 0, -1, 2}), "float32: 2 12 6");
  CHECK_EQ(padded("circular", {0, 0, 3, 3, 0, 0}), "float32: 2 9 5");
  CHECK_THROWS(padded("constant", {0, 0, -4, 2, 0, 0}), "pads axis 1, of 3 elements, by -4 and 2: too much is cut");
  CHECK_THROWS(padded("reflect", {0, 0, 3, 0, 0, 0}), "reflection takes fewer than there are");
  CHECK_THROWS(padded("circular", {0, 0, 4, 0, 0, 0}), "circular padding goes around once at most");
  CHECK_EQ(padded("circular", {0, 0, -1, 2, 0, 0}), "float32: 2 4 5");
  CHECK_THROWS(padded("circular", {0, 0, -1, 3, 0, 0}), "circular padding goes around once at most");
  CHECK_THROWS(padded("constant", {0, 0, 1, 1}), "must have 6 values, not 4");
  CHECK_THROWS(made("pad", {i64({2})}, {{"padding", Dims{1, 1}}, {"value", numbers({0.5})}}),
               "value must be an integer for int64");
  const auto of_bytes = [](Attributes attributes) { return made("pad", {u8({2, 3})}, attributes, {}, kScale); };
  CHECK_EQ(of_bytes({{"padding", Dims{0, 1, 2, 0}}, {"q", Dims{7}}}), "uint8: 3 5");
  CHECK_THROWS(of_bytes({{"padding", Dims{0, 1, 2, 0}}, {"mode", word("reflect")}}), "in the mode constant alone");
  CHECK_THROWS(of_bytes({{"padding", Dims{0, 1, -1, 0}}}), "a negative one is for other types");
}

TEST(parts_by_index) {
  CHECK_EQ(made("take", {f32({5, 6, 7}), i64({2, 3})}, {{"axis", Dims{1}}}), "float32: 5 2 3 7");
  CHECK_EQ(made("take", {f32({5, 6}), i64({})}, {{"axis", Dims{0}}}), "float32: 6");
  CHECK_THROWS(made("take", {f32({1, 2, 3, 4, 5}), i64({1, 2, 3, 4, 5})}, {{"axis", Dims{0}}}), "rank 9; 8 is the highest");
  CHECK_EQ(made("gather", {f32({3, 4}), i64({2, 9})}, {{"axis", Dims{1}}}), "float32: 2 9");
  CHECK_THROWS(made("gather", {f32({3, 4}), i64({4, 9})}, {{"axis", Dims{1}}}),
               "its indices [4, 9] are larger than its data [3, 4]");
  CHECK_THROWS(made("gather", {f32({3, 4}), i64({3})}, {{"axis", Dims{1}}}), "its indices [3]");
  CHECK_EQ(made("scatter", {f32({3, 4}), i64({9, 1}), f32({9, 2})}, {{"axis", Dims{0}}}), "float32: 3 4");
  CHECK_THROWS(made("scatter", {f32({3, 4}), i64({9, 1}), f32({9, 5})}, {{"axis", Dims{0}}}), "updates [9, 5] and data [3, 4]");
  CHECK_THROWS(made("scatter", {f32({3, 4}), i64({2, 1}), f32({9, 4})}, {{"axis", Dims{0}}}), "its indices [2, 1]");
  CHECK_THROWS(made("scatter", {f32({3}), i64({9}), i64({9})}, {{"axis", Dims{0}}}), "int64");
}

TEST(parts_unfold) {
  const auto unfolded = [](Sizes in) {
    return made("unfold", {f32(std::move(in))},
                {{"kernel", Dims{3, 2}}, {"stride", Dims{2, 1}}, {"padding", Dims{1, 0}}, {"dilation", Dims{1, 2}}});
  };
  CHECK_EQ(unfolded({2, 3, 7, 8}), "float32: 2 18 24");
  CHECK_THROWS(unfolded({2, 3, 7, 2}), "an input 2 pixels wide is too small for its kernel of 3");
}

}  // namespace
}  // namespace niwaki
