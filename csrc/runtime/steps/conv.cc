// Convolution and linear layers, with what was fused into them: a residual, a table or prelu behind them, a product before them.
#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <utility>

#include "graph/fused_parts.h"
#include "graph/phases.h"
#include "kernels/mul/mul.h"
#include "runtime/layout.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

ConvParams conv_params(const Graph& graph, const Node& node) {
  const auto& shape = node.tensor("weight").shape();
  const std::optional<Quantization> out = sums_quantization(graph, node);
  ConvParams p{};
  p.out_channels = narrow(shape[0]);
  p.kernel_h = p.kernel_w = p.stride_h = p.stride_w = p.dilation_h = p.dilation_w = p.groups = 1;
  p.linear = node.op == Op::linear;
  if (node.op == Op::conv2d) {
    p.groups = narrow(node.integer("groups"));
    p.kernel_h = narrow(shape[2]), p.kernel_w = narrow(shape[3]);
    p.stride_h = narrow(node.integers("stride")[0]), p.stride_w = narrow(node.integers("stride")[1]);
    p.dilation_h = narrow(node.integers("dilation")[0]), p.dilation_w = narrow(node.integers("dilation")[1]);
    const Dims& padding = node.dims("padding");
    p.padded = padding[0] != Dim(0) || padding[1] != Dim(0);
  }
  p.in_channels = narrow(shape[1] * p.groups);
  p.in_zero = multiplied_quantization(graph, node).zero_point;
  p.low = narrow(node.integer("low")), p.high = narrow(node.integer("high"));
  p.float_output = !out.has_value();
  if (out) p.out_zero = out->zero_point;
  p.has_residual = has_residual(node);
  if (p.has_residual) {
    p.residual_zero = quantization(graph, node.inputs[1]).zero_point;
    p.residual_scale = quantization(graph, node.inputs[1]).scale / out->scale;
  }
  return p;
}

// All pixels of all images as one row: what a linear layer reads and writes.
Planes as_row(Planes planes) {
  planes.width = static_cast<int32_t>(planes.pixels());
  planes.images = planes.height = 1;
  return planes;
}

// Inputs that are multiplied by a number for each channel before the convolution reads them. Its pixels know nothing of each other, so a strip of
// them is multiplied at a time, and is still in the L2 cache when it is read.
class Product {
 public:
  Product(const MulKernel& kernel, const MulParams& params) : kernel_(kernel), params_(params) {}

  std::string kernel() const { return std::string("mul_") + kernel_.name; }

  int64_t scratch_bytes(const PackedConv& packed, const Planes& in, const Planes& out) const {
    const int64_t pixels = strip_pixels(in);
    return strip_bytes(in) + (pixels < in.pixels() ? packed.scratch_bytes(row_of(in, 0, pixels), row_of(out, 0, pixels))
                                                   : packed.scratch_bytes(in, out));
  }

  // As PackedConv::run without padding and of bytes. each: the scratch of a thread.
  void run(const PackedConv& packed, const Planes& in, const Planes& factors, const Planes& out, const Planes& residual,
           const AfterFrom& after, uint8_t* scratch, int64_t each, ThreadPool& pool) const {
    const int64_t pixels = in.pixels(), most = strip_pixels(in);
    Planes strip = in;
    strip.group_stride = group_stride_of(most);
    if (pixels <= most) {  // in one go, and all threads do both
      // The threads' scratch is one part after the other: what the convolution asks for does not begin with the strip.
      strip.data = scratch + int64_t{pool.threads()} * (each - strip_bytes(in));
      mul(kernel_, in, factors, strip, params_, pool);
      return packed.run(strip, {}, out, nullptr, residual, after, scratch, pool);
    }
    const int64_t vectors = div_up(pixels, kPixels);
    const int64_t strips = std::min(round_up(div_up(pixels, most), pool.threads()), vectors);
    pool.run(strips, [&](int64_t task, int thread) {
      const int64_t begin = vectors * task / strips * kPixels, end = std::min(vectors * (task + 1) / strips * kPixels, pixels);
      uint8_t* const memory = scratch + thread * each;
      Planes part = row_of(strip, 0, end - begin);
      part.data = memory;
      scale_pixels(kernel_, in, factors, begin, end, 0, in.groups(), part.data, part.group_stride, params_);
      ThreadPool alone(1);
      packed.run(part, {}, row_of(out, begin, end - begin), nullptr, row_of(residual, begin, end - begin), after,
                 memory + strip_bytes(in), alone);
    });
  }

 private:
  // Strips begin with a whole vector of every instruction set: kernels may write the rest of the one that a row of pixels ends in.
  static constexpr int64_t kPixels = 16;

  static int64_t strip_pixels(const Planes& in) {
    constexpr int64_t kBytes = 128 * 1024, kLeast = 192;
    const int64_t most = std::max(kLeast, kBytes / (int64_t{4} * std::max(1, in.groups())) / kPixels * kPixels);
    return std::min(most, in.pixels());
  }
  static int64_t strip_bytes(const Planes& in) { return planes_bytes(strip_pixels(in), in.channels) + kOverread; }

  // Pixels of all images from `first` on as one row.
  static Planes row_of(Planes planes, int64_t first, int64_t pixels) {
    if (planes.data != nullptr) planes.data += first * 4;
    planes.images = planes.height = 1;
    planes.width = static_cast<int32_t>(pixels);
    return planes;
  }

  const MulKernel& kernel_;
  MulParams params_;
};

class ConvStep : public Step {
 public:
  ConvStep(std::unique_ptr<PackedConv> packed, std::optional<Product> product, std::unique_ptr<After> after, bool linear)
      : packed_(std::move(packed)), product_(product), after_(std::move(after)), linear_(linear) {
    info.scheme = packed_->sparse() ? "sparse int8" : "int8";
    info.kernel = packed_->kernel();
    info.bytes = packed_->bytes() + (after_ ? after_->bytes() : 0);
    info.reason = packed_->reason();
    if (product_) info.reason += "; reads products of " + product_->kernel();
    if (after_) info.reason += "; writes through " + std::string(after_->kernel());
  }

  int64_t scratch_bytes(const StepSizes& sizes) const override {
    const Planes in = input(sizes.in[0]), out = output(sizes.out[0]);
    return product_ ? product_->scratch_bytes(*packed_, in, out) : packed_->scratch_bytes(in, out);
  }
  bool may_overwrite(size_t input) const override { return input == 1; }

  void share_weights(Step& other) override {
    if (auto* conv = dynamic_cast<ConvStep*>(&other)) packed_->share_weights(*conv->packed_);
  }

  std::vector<std::span<const uint8_t>> shareable() const override {
    std::vector<std::span<const uint8_t>> found;
    for (const SharedBuffer* weights : packed_->weights()) found.emplace_back(weights->data(), weights->size());
    return found;
  }

  void run(const StepCall& call) const override {
    const Array& out = call.out[0];
    const Planes planes = output(out);
    Planes residual = planes;
    residual.data = nullptr;
    if (call.in.size() > 1 && call.in[1].given) residual = input(call.in[1]);
    if (product_)
      return product_->run(*packed_, call.in[0].planes, call.in[kFactors].planes, planes, residual, {after_.get()}, call.scratch,
                           call.scratch_bytes, call.pool);
    packed_->run(input(call.in[0]), padding(call), planes, out.grouped() ? nullptr : out.as<float>(), residual, {after_.get()},
                 call.scratch, call.pool);
  }

 private:
  Planes input(const Array& in) const { return linear_ ? as_row(in.planes) : in.planes; }
  ConvPadding padding(const StepCall& call) const {
    if (linear_) return {};
    return {narrow(integer_of(call.attributes, "padding", 0)), narrow(integer_of(call.attributes, "padding", 1))};
  }
  // Of a float32 output, which is not grouped: how it would be.
  Planes output(const Array& out) const {
    const Planes planes = out.grouped() ? out.planes : planes_of(out.dims, linear_ ? static_cast<int>(out.dims.size()) - 1 : 1);
    return linear_ ? as_row(planes) : planes;
  }

  std::unique_ptr<PackedConv> packed_;
  std::optional<Product> product_;
  std::unique_ptr<After> after_;  // may be null
  bool linear_;
};

std::optional<Product> product_of(const StepMaker& maker) {
  const Node& node = maker.node;
  if (!node.has(kProduct)) return std::nullopt;
  const Quantization &data = quantization(maker.graph, node.inputs[0]),
                     &factor = quantization(maker.graph, node.inputs[kFactors]),
                     made = multiplied_quantization(maker.graph, node);
  const std::vector<double>& numbers = node.numbers(kProduct);
  return Product(select_mul(maker.isa), {(data.scale * factor.scale) / made.scale, data.zero_point, factor.zero_point,
                                         made.zero_point, static_cast<int32_t>(numbers[2]), static_cast<int32_t>(numbers[3])});
}

}  // namespace

std::vector<float> multipliers(const Graph& graph, const Node& node) {
  const float in = multiplied_quantization(graph, node).scale;
  const std::optional<Quantization> out = sums_quantization(graph, node);
  const Tensor& scale = node.tensor("weight_scale");
  std::vector<float> result(static_cast<size_t>(scale.elements()));
  for (size_t o = 0; o < result.size(); ++o) {
    const float product = in * scale.as<float>()[o];
    result[o] = out ? product / out->scale : product;
  }
  return result;
}

std::unique_ptr<Step> make_conv(const StepMaker& maker) {
  const Node& node = maker.node;
  const Tensor weight = node.tensor("weight").unpacked();
  ConvParams params = conv_params(maker.graph, node);
  params.expected_pixels = maker.expected_pixels;
  const std::vector<float> multiplier = multipliers(maker.graph, node);
  const ConvWeights weights{weight.as<int8_t>(), node.tensor("bias").as<int32_t>(), multiplier.data()};
  auto step = std::make_unique<ConvStep>(pack_conv(params, weights, maker.isa, maker.kind), product_of(maker), make_after(maker),
                                         params.linear);
  const double kept = (1.0 - weight.zeros()) * static_cast<double>(weight.elements());
  step->info.zeros = std::max(0.0, 1.0 - std::round(kept) / static_cast<double>(original_weights(node)));
  return step;
}

}  // namespace niwaki
