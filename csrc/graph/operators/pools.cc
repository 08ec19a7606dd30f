// Pools: over uint8 images, and over float32 values of one to three spatial axes.
#include "graph/operators/rules.h"
#include "graph/operators/window.h"

namespace niwaki::rules {
namespace {

// 255 times as many pixels must fit int32.
void check_average(const Inference& node, const Dim& pixels) {
  if (pixels.is_constant() && pixels.value() > kInt32 / 255)
    refuse(node.node, "averages " + text(node, pixels) + " pixels; more than " + text(kInt32 / 255) + " could overflow int32.");
}

Dims pooled(const Inference& node, PaddingOrder order) {
  const Dims& in = node.input(0).dims;
  const Dims& kernel = node.dims("kernel");
  Dims out = {in[0], in[1]};
  for (size_t axis = 0; axis < kernel.size(); ++axis) {
    const Window window = window_along(node, axis, kernel[axis].value(), order);
    out.push_back(window.count(node, in[2 + axis], axis, kernel.size()));
    window.must_touch(node, in[2 + axis], out.back(), axis, kernel.size());
  }
  return out;
}

std::vector<Operand> infer_max_pool2d(const Inference& node) {
  return one(DType::u8, pooled(node, PaddingOrder::before_then_after));
}

std::vector<Operand> infer_avg_pool2d(const Inference& node) {
  check_average(node, count_of(node.dims("kernel")));
  return one(DType::u8, pooled(node, PaddingOrder::before_then_after));
}

std::vector<Operand> infer_pool(const Inference& node) { return one(DType::f32, pooled(node, PaddingOrder::pairs)); }

Dims adapted(const Inference& node) {
  const Dims& in = node.input(0).dims;
  Dims out = {in[0], in[1]};
  expect_pixels(node);
  out.insert(out.end(), node.dims("size").begin(), node.dims("size").end());
  return out;
}

std::vector<Operand> infer_adaptive_avg_pool2d(const Inference& node) {
  const Dims& in = node.input(0).dims;
  Dims out = adapted(node);
  if (in[2].is_constant() && in[3].is_constant() && out[2].is_constant() && out[3].is_constant()) {
    const auto window = [](const Dim& in, const Dim& out) { return floor_div(in + out - 1, out) + 1; };
    check_average(node, window(in[2], out[2]) * window(in[3], out[3]));
  }
  return one(DType::u8, std::move(out));
}

std::vector<Operand> infer_adaptive_pool(const Inference& node) { return one(DType::f32, adapted(node)); }

void check_avg_pool2d(const Inference& node) { check_bounds(node.node); }

void check_pool(const Inference& node) {
  if (node.node.word("function") != "average") return;
  for (const Dim& dilation : node.dims("dilation"))
    if (dilation != Dim(1)) refuse(node.node, "an average takes no dilation.");
}

AttributeRule kernel(int count) { return integers("kernel", count, 1, kFar); }
AttributeRule stride(int count) { return integers("stride", count, 1, kFar, Dims{1}); }
AttributeRule dilation(int count) { return integers("dilation", count, 1, kFar, Dims{1}); }
AttributeRule padding2d() { return integers("padding", 4, 0, kFar, Dims{0}); }
AttributeRule divisor() { return integers("divisor", 1, 0, kInt32, Dims{0}); }

}  // namespace

OperatorRule max_pool2d() {
  return {.summary = "largest value of a window; padding never wins",
          .inputs = {{"data", kU8, 4, 4}},
          .keeps_scale = true,
          .attributes = {kernel(2), stride(2), padding2d(), dilation(2), flag("ceil_mode")},
          .infer = infer_max_pool2d,
          .batch_local = always};
}

OperatorRule avg_pool2d() {
  return {
      .summary = "mean of a window. divisor 0: the number of its pixels, those of the padding counted in with count_include_pad",
      .inputs = {{"data", kU8, 4, 4}},
      .attributes =
          with_bounds({kernel(2), stride(2), padding2d(), flag("ceil_mode"), flag("count_include_pad", true), divisor()}),
      .check = check_avg_pool2d,
      .infer = infer_avg_pool2d,
      .batch_local = always};
}

OperatorRule adaptive_avg_pool2d() {
  return {.summary = "means of size[0] x size[1] parts of an image, which may overlap",
          .inputs = {{"data", kU8, 4, 4}},
          .attributes = with_bounds({expressions("size", 2, 1, kInt32)}),
          .check = check_avg_pool2d,
          .infer = infer_adaptive_avg_pool2d,
          .batch_local = always};
}

OperatorRule pool() {
  return {.summary = "largest value or mean of a window; divisor and count_include_pad are those of avg_pool2d",
          .inputs = {{"data", kFloat, 3, 5}},
          .attributes = {word("function", {"max", "average"}), kernel(kSpatial), stride(kSpatial), dilation(kSpatial),
                         integers("padding", kSpatialPairs, 0, kFar, Dims{0}), flag("ceil_mode"), flag("count_include_pad", true),
                         divisor()},
          .check = check_pool,
          .infer = infer_pool,
          .batch_local = always};
}

OperatorRule adaptive_pool() {
  return {.summary = "largest values or means of as many parts of each axis as size says, which may overlap",
          .inputs = {{"data", kFloat, 3, 5}},
          .attributes = {word("function", {"max", "average"}), expressions("size", kSpatial, 1, kInt32)},
          .infer = infer_adaptive_pool,
          .batch_local = always};
}

}  // namespace niwaki::rules
