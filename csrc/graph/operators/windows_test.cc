// Convolutions and resizing of float32 values: sizes as torch has them.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

TEST(windows_count_as_torch_does) {
  struct Case {
    int64_t size, kernel, stride, padding, dilation, transposed, output_padding, expected;
  };
  for (const Case& c :
       {Case{9, 3, 2, 1, 1, 0, 0, 5}, Case{9, 3, 1, 0, 3, 0, 0, 3}, Case{1, 1, 4, 4, 1, 0, 0, 3}, Case{3, 2, 2, 0, 1, 1, 1, 7},
        Case{3, 2, 1, 0, 2, 1, 1, 6}, Case{5, 4, 2, 1, 1, 1, 0, 10}, Case{2, 3, 3, 2, 2, 1, 2, 6}})
    CHECK_EQ(made("convolution", {f32({2, 6, c.size})},
                  {{"stride", Dims{c.stride}},
                   {"padding", Dims{c.padding}},
                   {"dilation", Dims{c.dilation}},
                   {"transposed", Dims{c.transposed}},
                   {"output_padding", Dims{c.output_padding}}},
                  {{"weight", c.transposed != 0 ? floats({6, 4, c.kernel}) : floats({4, 6, c.kernel})}}),
             "float32: 2 4 " + std::to_string(c.expected));
}

TEST(windows_convolution) {
  const auto convolved = [](Sizes in, Sizes weight, Attributes attributes = {}, Sizes bias = {}) {
    Tensors tensors = {{"weight", floats(std::move(weight))}};
    if (!bias.empty()) tensors["bias"] = floats(std::move(bias));
    return made("convolution", {f32(std::move(in))}, attributes, tensors);
  };
  CHECK_EQ(convolved({2, 4, 5, 6, 7}, {6, 2, 3, 2, 1}, {{"groups", Dims{2}}, {"padding", Dims{0, 0, 1, 0, 2, 3}}}, {6}),
           "float32: 2 6 3 6 12");
  CHECK_EQ(convolved({2, 4, 5}, {4, 3, 2}, {{"groups", Dims{2}}, {"transposed", Dims{1}}}), "float32: 2 6 6");
  CHECK_THROWS(convolved({2, 4, 5}, {6, 4, 3, 3}), "its weight has rank 4 and its input 3");
  CHECK_THROWS(convolved({2, 4, 5}, {6, 3, 3}), "its input has 4 channels; 3 are expected");
  CHECK_THROWS(convolved({2, 4, 5}, {5, 2, 3}, {{"groups", Dims{2}}}), "its 5 output channels do not divide into 2 groups");
  CHECK_THROWS(convolved({2, 5, 5}, {5, 2, 3}, {{"groups", Dims{2}}, {"transposed", Dims{1}}}),
               "its 5 input channels do not divide");
  CHECK_THROWS(convolved({2, 4, 5}, {6, 4, 3}, {}, {5}), "bias has 5 elements; the weight has 6 output channels");
  CHECK_THROWS(convolved({2, 4, 2}, {6, 4, 3}), "an input 2 elements long is too small for its kernel of 3");
  CHECK_THROWS(convolved({2, 4, 0}, {6, 4, 1}, {{"padding", Dims{2}}}), "its input [2, 4, 0] is empty");
  CHECK_THROWS(convolved({2, 4, 5}, {6, 0, 3}), "its weight is empty");
  CHECK_THROWS(convolved({2, 4, 5}, {6, 4, 3}, {{"output_padding", Dims{1}}}), "output_padding where it is transposed alone");
  const Attributes transposed = {{"transposed", Dims{1}}, {"output_padding", Dims{2}}, {"stride", Dims{2}}};
  CHECK_THROWS(convolved({2, 4, 5}, {4, 6, 3}, transposed), "output_padding must be smaller than stride or dilation, not 2");
  CHECK_THROWS(convolved({2, 4, 1}, {4, 6, 1}, {{"transposed", Dims{1}}, {"padding", Dims{1}}}), "its padding leaves nothing");
}

TEST(windows_with_padding_of_free_sizes) {
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "3", "height", "width"});
  const Dim before = floor_div(max((floor_div(net.size("height") + 1, 2) - 1) * 2 + 3 - net.size("height"), 0), 2);
  const int y =
      net.add("convolution", {x}, {{"stride", Dims{2}}, {"padding", Dims{before, 1, 0, 0}}}, {{"weight", floats({4, 3, 3, 3})}});
  CHECK_EQ(net.shape({{1, 3, 32, 32}}, y), "1 4 16 15");
  CHECK_EQ(net.shape({{1, 3, 33, 32}}, y), "1 4 17 15");
}

TEST(windows_interpolate) {
  const auto resized = [](Sizes in, const char* mode, Dims size, Attributes more = {}) {
    more["mode"] = word(mode);
    more["size"] = std::move(size);
    return made("interpolate", {f32(std::move(in))}, more);
  };
  CHECK_EQ(resized({2, 3, 4, 5}, "linear", {8, 7}, {{"align_corners", Dims{1}}}), "float32: 2 3 8 7");
  CHECK_EQ(resized({2, 3, 4}, "nearest-exact", {8}, {{"scales", numbers({2.0})}}), "float32: 2 3 8");
  CHECK_EQ(resized({2, 3, 4, 5, 6}, "nearest", {8}), "float32: 2 3 8 8 8");
  CHECK_THROWS(resized({2, 3, 4}, "cubic", {8}), "rank 4 in the mode cubic, not 3");
  CHECK_THROWS(resized({2, 3, 4}, "nearest", {8}, {{"align_corners", Dims{1}}}), "no corners to align in the mode nearest");
  CHECK_THROWS(resized({2, 3, 4}, "linear", {0}), "'size' must lie in 1");
  CHECK_THROWS(resized({2, 3, 0}, "linear", {2}), "its input [2, 3, 0] is empty");
  CHECK_THROWS(resized({2, 3, 4}, "linear", {8}, {{"scales", numbers({-1.0})}}), "scales must be positive");
}

TEST(windows_resize) {
  const auto resized = [](Sizes in, const char* mode, Dims size, Quantization q = kScale) {
    return made("resize", {u8(std::move(in))}, {{"mode", word(mode)}, {"size", std::move(size)}}, {}, q);
  };
  CHECK_EQ(resized({2, 3, 4, 5}, "linear", {8, 7}, {0.3f, 0}), "uint8: 2 3 8 7");
  CHECK_EQ(resized({2, 3, 4}, "linear", {8}, {0.3f, 0}), "uint8: 2 3 8");
  CHECK_EQ(resized({2, 3, 4, 5}, "cubic", {8}, {0.3f, 0}), "uint8: 2 3 8 8");
  CHECK_EQ(resized({2, 3, 4, 5}, "nearest", {8}), "uint8: 2 3 8 8");
  CHECK_THROWS(resized({2, 3, 4, 5}, "nearest-exact", {8}, {0.3f, 0}), "keeps scale and zero point in the mode nearest-exact");
  CHECK_THROWS(resized({2, 3, 4, 5, 6}, "linear", {8}), "must have rank 3 to 4, not 5");
  CHECK_THROWS(resized({2, 3, 0}, "linear", {2}), "its input [2, 3, 0] is empty");
}

TEST(windows_grid_sample) {
  CHECK_EQ(made("grid_sample", {f32({2, 3, 4, 5}), f32({2, 6, 7, 2})}), "float32: 2 3 6 7");
  CHECK_THROWS(made("grid_sample", {f32({2, 3, 4, 5}), f32({2, 6, 7, 3})}), "[N, C, H, W] and [N, H', W', 2] are expected");
  CHECK_THROWS(made("grid_sample", {f32({2, 3, 4, 5}), f32({1, 6, 7, 2})}), "are expected");
  CHECK_THROWS(made("grid_sample", {f32({2, 3, 0, 5}), f32({2, 6, 7, 2})}), "is empty");
}

}  // namespace
}  // namespace niwaki
