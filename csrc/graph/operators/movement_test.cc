// Whole values in another shape or order.
#include "graph/test_tools.h"

namespace niwaki {
namespace {

using namespace testing;

std::string reshaped(Sizes in, Dims shape) { return made("reshape", {f32(std::move(in))}, {{"shape", std::move(shape)}}); }

TEST(movement_reshape) {
  CHECK_EQ(reshaped({2, 3, 4}, {6, -1}), "float32: 6 4");
  CHECK_EQ(reshaped({2, 3}, {-1}), "float32: 6");
  CHECK_EQ(reshaped({1, 1}, {}), "float32: ");
  CHECK_EQ(reshaped({0, 0, 1}, {0}), "float32: 0");
  CHECK_EQ(reshaped({0, 3, 4}, {0, -1}), "float32: 0 12");  // flatten of no images; torch's reshape refuses it
  CHECK_EQ(reshaped({0, 3}, {-1, 7}), "float32: 0 7");
  CHECK_THROWS(reshaped({2, 3}, {4}), "cannot give the elements of [2, 3] the shape [4]");
  CHECK_THROWS(reshaped({2, 3}, {4, -1}), "cannot give the elements of [2, 3] the shape [4, -1]");
  CHECK_THROWS(reshaped({2, 3}, {-1, -1}), "more than one dimension of its shape is -1");
  CHECK_THROWS(reshaped({0, 3}, {3, 0, -1}), "cannot give");
  CHECK_THROWS(reshaped({2, 3}, {-2}), "'shape' must lie in -1 to 2147483647, not -2");
  CHECK_EQ(made("reshape", {u8({2, 8, 3, 5})}, {{"shape", Dims{2, 4, -1, 3}}}, {}, kScale), "uint8: 2 4 10 3");
}

TEST(movement_reshape_of_free_sizes) {
  Net net;
  const int x = net.input("x", DType::f32, {"batch", "8", "height", "width"});
  const Dim batch = net.size("batch"), height = net.size("height");
  CHECK_EQ(net.dims(net.add("reshape", {x}, {{"shape", Dims{batch, -1}}})), "batch, height * width * 8");
  CHECK_EQ(net.dims(net.add("reshape", {x}, {{"shape", Dims{batch * 2, 4, -1}}})),
           "batch * 2, 4, batch * height * width * 8 // (batch * 8)");
  // An expression that turns out to be -1 is a mistake, not the dim that is left.
  const int y = net.add("reshape", {x}, {{"shape", Dims{batch, 8, net.size("width"), height - 3}}});
  CHECK_EQ(net.shape({{2, 8, 4, 0}}, y), "2 8 0 1");
  CHECK_THROWS(net.shape({{2, 8, 2, 0}}), "'shape' must lie in 0 to 2147483647, not -1");
}

TEST(movement_permute) {
  const auto permuted = [](Dims axes) { return made("permute", {f32({2, 3, 4})}, {{"axes", std::move(axes)}}); };
  CHECK_EQ(permuted({2, 0, 1}), "float32: 4 2 3");
  CHECK_THROWS(permuted({2, 0}), "has 2 axes for an input of rank 3");
  CHECK_THROWS(permuted({2, 0, 2}), "axes has 2 twice");
  CHECK_THROWS(permuted({2, 0, 3}), "axes has 3, beyond the rank of its input (3)");
  CHECK_EQ(made("permute", {f32({})}, {{"axes", Dims{}}}), "float32: ");
  CHECK_EQ(made("permute", {u8({2, 3, 4})}, {{"axes", Dims{0, 2, 1}}}, {}, kScale), "uint8: 2 4 3");
}

TEST(movement_expand) {
  const auto expanded = [](Sizes in, Dims shape) { return made("expand", {f32(std::move(in))}, {{"shape", std::move(shape)}}); };
  CHECK_EQ(expanded({2, 1}, {5, -1, 3}), "float32: 5 2 3");
  CHECK_EQ(expanded({1, 1}, {0, 4}), "float32: 0 4");
  CHECK_THROWS(expanded({2, 3}, {2, 4}), "cannot expand [2, 3] to [2, 4]");
  CHECK_THROWS(expanded({2, 3}, {-1, 2, 3}), "cannot expand [2, 3] to [-1, 2, 3]");
  CHECK_THROWS(expanded({2, 3}, {3}), "cannot expand [2, 3] to [3]");
  CHECK_THROWS(made("expand", {u8({1, 3})}, {{"shape", Dims{2, 3}}}, {}, kScale), "its input 'data' is uint8");
}

TEST(movement_along_axes) {
  CHECK_EQ(made("flip", {f32({2, 3})}, {{"axes", Dims{1, 0}}}), "float32: 2 3");
  CHECK_THROWS(made("flip", {f32({2, 3})}, {{"axes", Dims{2}}}), "beyond the rank");
  CHECK_EQ(made("roll", {i64({2, 3})}, {{"shifts", Dims{-7}}, {"axes", Dims{1}}}), "int64: 2 3");
  CHECK_THROWS(made("roll", {f32({2, 3})}, {{"shifts", Dims{1, 2}}, {"axes", Dims{1}}}), "one shift for each axis");
  CHECK_EQ(made("tile", {f32({2, 3})}, {{"repeats", Dims{4, 1, 2}}}), "float32: 4 2 6");
  CHECK_EQ(made("tile", {f32({2, 3})}, {{"repeats", Dims{0, 2}}}), "float32: 0 6");
  CHECK_THROWS(made("tile", {f32({2, 3})}, {{"repeats", Dims{2}}}), "has 1 repeats for an input of rank 2");
}

TEST(movement_of_images) {
  CHECK_EQ(made("upsample_nearest2d", {u8({2, 8, 4, 5})}, {{"scale", Dims{2, 3}}}, {}, kScale), "uint8: 2 8 8 15");
  CHECK_THROWS(made("upsample_nearest2d", {u8({2, 8})}, {{"scale", Dims{2, 3}}}, {}, kScale), "must have rank 4, not 2");
  CHECK_THROWS(made("upsample_nearest2d", {u8({2, 8, 4, 5})}, {{"scale", Dims{0, 3}}}, {}, kScale), "'scale' must lie in 1");
  CHECK_EQ(made("channel_shuffle", {u8({2, 8, 4, 5})}, {{"groups", Dims{4}}}, {}, kScale), "uint8: 2 8 4 5");
  CHECK_THROWS(made("channel_shuffle", {u8({2, 8, 4, 5})}, {{"groups", Dims{3}}}, {}, kScale),
               "its 8 channels do not divide into 3 groups");
  CHECK_EQ(made("pixel_shuffle", {u8({2, 12, 4, 5})}, {{"factors", Dims{2, 3}}}, {}, kScale), "uint8: 2 2 8 15");
  CHECK_EQ(made("pixel_shuffle", {u8({2, 12, 5})}, {{"factors", Dims{1, 4}}}, {}, kScale), "uint8: 2 3 20");
  CHECK_THROWS(made("pixel_shuffle", {u8({2, 12, 5})}, {{"factors", Dims{2, 2}}}, {}, kScale), "needs an input of rank 4");
  CHECK_THROWS(made("pixel_shuffle", {u8({2, 12, 4, 5})}, {{"factors", Dims{2, 4}}}, {}, kScale),
               "its 12 channels do not divide into 8 for each pixel");
}

}  // namespace
}  // namespace niwaki
