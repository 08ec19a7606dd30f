// A second implementation of docs/architecture.md, "Numbers", and of the operators that move elements: plain loops over row-major arrays, for
// tests only.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include "graph/fused_parts.h"
#include "graph/graph.h"
#include "graph/shapes.h"
#include "kernels/interpolate/interpolate.h"

namespace niwaki::testing {

// Floats and integers alike: double holds all of both.
struct Values {
  Sizes shape;
  std::vector<double> data;

  int64_t dim(size_t axis) const { return shape[axis]; }
  // Of an image [N, C, H, W].
  size_t index(int64_t n, int64_t c, int64_t y, int64_t x) const {
    return static_cast<size_t>(((n * shape[1] + c) * shape[2] + y) * shape[3] + x);
  }
  int32_t at(int64_t n, int64_t c, int64_t y, int64_t x) const { return static_cast<int32_t>(data[index(n, c, y, x)]); }
  int32_t q(size_t i) const { return static_cast<int32_t>(data[i]); }

  // Along one axis: element i of `size` begins at outer * size * inner + i * inner.
  int64_t outer(size_t axis) const { return product(0, axis); }
  int64_t inner(size_t axis) const { return product(axis + 1, shape.size()); }
  int64_t product(size_t begin, size_t end) const {
    int64_t count = 1;
    for (size_t i = begin; i < end; ++i) count *= shape[i];
    return count;
  }
};

class Interpreter {
 public:
  // `graph` is fused: what a residual means depends on it. inputs: of the graph's, in order; states: as they are now.
  Interpreter(const Graph& graph, const std::vector<Values>& inputs, const std::vector<Values>& states = {})
      : graph_(graph), values_(graph.values().size()) {
    std::vector<Sizes> sizes;
    for (const Values& input : inputs) sizes.push_back(input.shape);
    inferred_ = infer_shapes(graph, sizes);
    for (size_t i = 0; i < inputs.size(); ++i) value(graph.inputs()[i].value) = inputs[i];
    for (size_t i = 0; i < states.size(); ++i) value(graph.states()[i].value) = states[i];
    for (size_t k = 0; k < graph.nodes().size(); ++k) run(graph.nodes()[k], *inferred_.attributes[k]);
  }
  const Values& output(size_t i) { return value(graph_.outputs()[i].value); }
  const Values& next_state(size_t i) { return value(graph_.states()[i].next); }

 private:
  Values& value(int index) { return values_[static_cast<size_t>(index)]; }
  const Quantization& q(int index) const { return *graph_.value(index).quantization; }

  // round_half_even(clamp(t)) + zero, within [low, high]
  static int32_t finish(float t, int32_t zero, int64_t low, int64_t high) {
    const float lowest = static_cast<float>(low - zero), highest = static_cast<float>(high - zero);
    return static_cast<int32_t>(std::nearbyintf(std::min(std::max(t, lowest), highest))) + zero;
  }

  template <typename Function>
  static void for_each_pixel(const Values& v, const Function& function) {
    for (int64_t n = 0; n < v.dim(0); ++n)
      for (int64_t c = 0; c < v.dim(1); ++c)
        for (int64_t y = 0; y < v.dim(2); ++y)
          for (int64_t x = 0; x < v.dim(3); ++x) function(n, c, y, x);
  }

  void run(const Node& node, const Attributes& attributes) {
    Values& out = value(node.outputs[0]);
    out.shape = inferred_.shapes[static_cast<size_t>(node.outputs[0])];
    out.data.resize(static_cast<size_t>(elements_of(out.shape)));
    if (node.op == Op::constant) return constant(node.tensor("value"), out);
    const Values& in = value(node.inputs[0]);
    if (node.has("phases")) return phases(node, in, out);
    switch (node.op) {
      case Op::conv2d: return convolve(node, node.has(kProduct) ? product(node, in) : in, out);
      case Op::linear: return linear(node, in, out);
      case Op::max_pool2d:
      case Op::avg_pool2d: return pool(node, in, out);
      case Op::adaptive_avg_pool2d: return adaptive(node, in, out);
      case Op::reshape: out.data = in.data; return;
      case Op::permute: return permute(node, in, out);
      case Op::concat: return concat(node, out);
      case Op::slice: return slice(attributes, in, out);
      case Op::pad: return pad(node, attributes, in, out);
      case Op::resize: return resize(node, attributes, in, out);
      case Op::channel_shuffle: {
        const int64_t groups = node.integer("groups"), size = in.dim(1) / groups, inner = in.inner(1);
        for (int64_t i = 0; i < static_cast<int64_t>(out.data.size()); ++i) {
          const int64_t c = i / inner % in.dim(1), from = c % groups * size + c / groups;
          out.data[static_cast<size_t>(i)] = in.data[static_cast<size_t>(i + (from - c) * inner)];
        }
        return;
      }
      case Op::pixel_shuffle: {
        const int64_t rows = node.integers("factors")[0], columns = node.integers("factors")[1];
        return for_each_pixel(out, [&](int64_t n, int64_t c, int64_t y, int64_t x) {
          out.data[out.index(n, c, y, x)] = in.at(n, (c * rows + y % rows) * columns + x % columns, y / rows, x / columns);
        });
      }
      case Op::upsample_nearest2d:
        return for_each_pixel(out, [&](int64_t n, int64_t c, int64_t y, int64_t x) {
          out.data[out.index(n, c, y, x)] = in.at(n, c, y / node.integers("scale")[0], x / node.integers("scale")[1]);
        });
      default:
        for (size_t i = 0; i < out.data.size(); ++i) out.data[i] = element(node, in, i);
    }
  }

  static void constant(const Tensor& tensor, Values& out) {
    for (size_t i = 0; i < out.data.size(); ++i) out.data[i] = static_cast<double>(tensor.as<float>()[i]);
  }

  // graph/phases.h
  void phases(const Node& node, const Values& in, Values& out) {
    const auto order = node.integers("phases");
    const Quantization& made = q(node.outputs[0]);
    for_each_pixel(out, [&](int64_t n, int64_t i, int64_t y, int64_t x) {
      const int64_t phase = order[static_cast<size_t>(i)] / in.dim(1), c = order[static_cast<size_t>(i)] % in.dim(1);
      const int64_t iy = 2 * y + phase / 2, ix = 2 * x + phase % 2;
      const bool inside = iy < in.dim(2) && ix < in.dim(3);
      out.data[out.index(n, i, y, x)] = inside ? quantized(in.data[in.index(n, c, iy, ix)], made) : made.zero_point;
    });
  }

  static int32_t quantized(double value, const Quantization& to) {
    const float t = static_cast<float>(value) * (1.0f / to.scale);
    return std::isnan(t) ? 0 : finish(t, to.zero_point, 0, 255);
  }

  // Of operators that go element by element.
  double element(const Node& node, const Values& in, size_t i) {
    const auto& made = graph_.value(node.outputs[0]).quantization;
    switch (node.op) {
      case Op::quantize: return quantized(in.data[i], *made);
      case Op::dequantize: {
        const Quantization& a = q(node.inputs[0]);
        return static_cast<float>(in.q(i) - a.zero_point) * a.scale;
      }
      case Op::add: {
        const Quantization &a = q(node.inputs[0]), &b = q(node.inputs[1]);
        const float left = static_cast<float>(in.q(i) - a.zero_point) * (a.scale / made->scale);
        const float right = static_cast<float>(value(node.inputs[1]).q(i) - b.zero_point) * (b.scale / made->scale);
        return finish(left + right, made->zero_point, node.integer("low"), node.integer("high"));
      }
      case Op::extreme: {
        const Quantization &a = q(node.inputs[0]), &b = q(node.inputs[1]);
        const float left = static_cast<float>(in.q(i) - a.zero_point) * (a.scale / made->scale);
        const float right = static_cast<float>(value(node.inputs[1]).q(i) - b.zero_point) * (b.scale / made->scale);
        return finish(node.word("function") == "maximum" ? std::max(left, right) : std::min(left, right), made->zero_point,
                      node.integer("low"), node.integer("high"));
      }
      case Op::prelu:
        return bent(in.q(i), q(node.inputs[0]), *made, slope_of(node, in, i), node.integer("low"), node.integer("high"));
      case Op::mul: {
        const Values& other = value(node.inputs[1]);
        const size_t j = other.shape == in.shape ? i : i / static_cast<size_t>(in.dim(2) * in.dim(3));
        return multiplied(in.q(i), q(node.inputs[0]), other.q(j), q(node.inputs[1]), *made, node.integer("low"),
                          node.integer("high"));
      }
      case Op::clamp: return static_cast<double>(std::clamp<int64_t>(in.q(i), node.integer("low"), node.integer("high")));
      case Op::table: return node.tensor("table").data()[in.q(i)];
      default: return std::nan("");
    }
  }

  // Places and weights are those of interpolate.
  void resize(const Node& node, const Attributes& attributes, const Values& in, Values& out) {
    const std::string& mode = node.word("mode");
    const auto& scales = std::get<std::vector<double>>(attributes.at("scales"));
    const bool rows = in.shape.size() == 3;
    const int64_t h = rows ? 1 : in.dim(2), w = in.shape.back(), out_h = rows ? 1 : out.dim(2), out_w = out.shape.back();
    const InterpolateParams params{mode == "nearest"         ? Interpolation::nearest
                                   : mode == "nearest-exact" ? Interpolation::nearest_exact
                                   : mode == "linear"        ? Interpolation::linear
                                                             : Interpolation::cubic,
                                   rows ? 1 : 2,
                                   node.integer("align_corners") != 0,
                                   {0.0, rows ? 0.0 : scales[0], scales.back()},
                                   {1, h, w},
                                   {1, out_h, out_w}};
    const auto axes = interpolation_taps(params);
    const Quantization &from = q(node.inputs[0]), &made = q(node.outputs[0]);
    const float factor = from.scale / made.scale * 0x1p-20f;
    for (int64_t i = 0; i < static_cast<int64_t>(out.data.size()); ++i) {
      const int64_t x = i % out_w, y = i / out_w % out_h, plane = i / out_w / out_h;
      const auto at = [&](int64_t row, int64_t column) { return in.q(static_cast<size_t>((plane * h + row) * w + column)); };
      if (mode.starts_with("nearest")) {
        out.data[static_cast<size_t>(i)] = at(axes[1].index(0, y), axes[2].index(0, x));
        continue;
      }
      const auto across = whole_weights(axes[2], x), down = whole_weights(axes[1], y);
      int64_t sum = -(int64_t{from.zero_point} << 20);
      for (int64_t ty = 0; ty < axes[1].taps; ++ty) {
        double along = 0.0;
        for (int64_t tx = 0; tx < axes[2].taps; ++tx)
          along += static_cast<double>(across[static_cast<size_t>(tx)]) * at(axes[1].index(ty, y), axes[2].index(tx, x));
        sum += down[static_cast<size_t>(ty)] * static_cast<int64_t>(std::floor(along / 256.0 + 0.5));
      }
      out.data[static_cast<size_t>(i)] = finish(static_cast<float>(sum) * factor, made.zero_point, 0, 255);
    }
  }

  // In units of 2^-14, adding up to 1: the largest takes what is left over.
  static std::vector<int64_t> whole_weights(const AxisTaps& taps, int64_t output) {
    std::vector<int64_t> whole;
    int64_t sum = 0;
    for (int64_t t = 0; t < taps.taps; ++t) {
      whole.push_back(std::llrint(static_cast<double>(taps.weights_of(output)[static_cast<size_t>(t)]) * 16384.0));
      sum += whole.back();
    }
    *std::max_element(whole.begin(), whole.end()) += 16384 - sum;
    return whole;
  }

  void permute(const Node& node, const Values& in, Values& out) {
    const auto axes = node.integers("axes");
    for (size_t i = 0; i < out.data.size(); ++i) {
      int64_t rest = static_cast<int64_t>(i), from = 0;
      for (size_t axis = axes.size(); axis-- > 0; rest /= out.shape[axis])
        from += rest % out.shape[axis] * in.inner(static_cast<size_t>(axes[axis]));
      out.data[i] = in.data[static_cast<size_t>(from)];
    }
  }

  void concat(const Node& node, Values& out) {
    const auto axis = static_cast<size_t>(node.integer("axis"));
    int64_t before = 0;
    for (const int input : node.inputs) {
      const Values& part = value(input);
      const int64_t run = part.dim(axis) * part.inner(axis), all = out.dim(axis) * out.inner(axis);
      for (int64_t i = 0; i < part.outer(axis) * run; ++i)
        out.data[static_cast<size_t>(i / run * all + before * out.inner(axis) + i % run)] = part.data[static_cast<size_t>(i)];
      before += part.dim(axis);
    }
  }

  void slice(const Attributes& attributes, const Values& in, Values& out) {
    const auto integer = [&](const char* name) { return std::get<Dims>(attributes.at(name)).at(0).value(); };
    const auto axis = static_cast<size_t>(integer("axis"));
    const int64_t size = in.dim(axis), given = integer("start"),
                  start = std::clamp(given < 0 ? given + size : given, int64_t{0}, size);
    const int64_t inner = out.inner(axis), count = out.dim(axis);
    for (size_t i = 0; i < out.data.size(); ++i) {
      const int64_t at = static_cast<int64_t>(i), outer = at / inner / count,
                    position = start + at / inner % count * integer("step");
      out.data[i] = in.data[static_cast<size_t>((outer * size + position) * inner + at % inner)];
    }
  }

  void pad(const Node& node, const Attributes& attributes, const Values& in, Values& out) {
    const Dims& padding = std::get<Dims>(attributes.at("padding"));
    const auto& quantization = graph_.value(node.outputs[0]).quantization;
    const double fill = !quantization           ? node.number("value")
                        : node.integer("q") < 0 ? quantization->zero_point
                                                : static_cast<double>(node.integer("q"));
    for (size_t i = 0; i < out.data.size(); ++i) {
      int64_t rest = static_cast<int64_t>(i), from = 0;
      bool inside = true;
      for (size_t axis = out.shape.size(); axis-- > 0; rest /= out.shape[axis]) {
        const int64_t at = rest % out.shape[axis] - padding[axis * 2].value();
        inside = inside && at >= 0 && at < in.shape[axis];
        from += at * in.inner(axis);
      }
      out.data[i] = inside ? in.data[static_cast<size_t>(from)] : fill;
    }
  }

  static float slope_of(const Node& node, const Values& values, size_t i) {
    return node.tensor("slope").as<float>()[static_cast<int64_t>(i) / values.inner(1) % values.dim(1)];
  }

  static int32_t bent(int32_t x, const Quantization& a, const Quantization& made, float slope, int64_t low, int64_t high) {
    const float factor = a.scale / made.scale, below = slope * factor;
    return finish(static_cast<float>(x - a.zero_point) * (x > a.zero_point ? factor : below), made.zero_point, low, high);
  }

  static int32_t multiplied(int32_t x, const Quantization& a, int32_t y, const Quantization& b, const Quantization& made,
                            int64_t low, int64_t high) {
    const int32_t product = (x - a.zero_point) * (y - b.zero_point);
    return finish(static_cast<float>(product) * ((a.scale * b.scale) / made.scale), made.zero_point, low, high);
  }

  // graph/fused_parts.h: what a convolution reads.
  Values product(const Node& node, const Values& in) {
    const Values& factors = value(node.inputs[kFactors]);
    const std::vector<double>& numbers = node.numbers(kProduct);
    Values found = in;
    for (size_t i = 0; i < found.data.size(); ++i)
      found.data[i] = multiplied(in.q(i), q(node.inputs[0]), factors.q(i / static_cast<size_t>(in.dim(2) * in.dim(3))),
                                 q(node.inputs[kFactors]), multiplied_quantization(graph_, node),
                                 static_cast<int64_t>(numbers[2]), static_cast<int64_t>(numbers[3]));
    return found;
  }

  // The same: what becomes of the bytes of its sums.
  int32_t after(const Node& node, const Values& out, size_t index, int32_t sum) const {
    if (!node.has(kSums)) return sum;
    if (const Tensor* table = node.find_tensor("table")) return table->data()[sum];
    const std::vector<int64_t> bounds = node.integers(kSlopeBounds);
    return bent(sum, *sums_quantization(graph_, node), q(node.outputs[0]), slope_of(node, out, index), bounds[0], bounds[1]);
  }

  // The sum of a layer as its output. `index`: of the output's element, of output channel o.
  void finish_layer(const Node& node, Values& out, size_t index, int64_t o, int32_t sum) {
    const float product = multiplied_quantization(graph_, node).scale * node.tensor("weight_scale").as<float>()[o];
    const std::optional<Quantization> made = sums_quantization(graph_, node);
    if (!made) {
      out.data[index] = static_cast<float>(sum) * product;
      return;
    }
    float t = static_cast<float>(sum) * (product / made->scale);
    if (node.inputs.size() > 1 && node.inputs[1] >= 0) {
      const Quantization& r = q(node.inputs[1]);
      const float residual = static_cast<float>(value(node.inputs[1]).q(index) - r.zero_point) * (r.scale / made->scale);
      t = t + residual;
    }
    out.data[index] = after(node, out, index, finish(t, made->zero_point, node.integer("low"), node.integer("high")));
  }

  void linear(const Node& node, const Values& in, Values& out) {
    const Tensor& weight = node.tensor("weight");
    const int64_t outputs = weight.shape()[0], inputs = weight.shape()[1];
    for (size_t i = 0; i < out.data.size(); ++i) {
      const int64_t row = static_cast<int64_t>(i) / outputs, o = static_cast<int64_t>(i) % outputs;
      int32_t sum = node.tensor("bias").as<int32_t>()[o];
      for (int64_t c = 0; c < inputs; ++c)
        sum += weight.as<int8_t>()[o * inputs + c] * (in.q(static_cast<size_t>(row * inputs + c)) - q(node.inputs[0]).zero_point);
      finish_layer(node, out, i, o, sum);
    }
  }

  void convolve(const Node& node, const Values& in, Values& out) {
    const auto& w = node.tensor("weight");
    const int64_t outputs = w.shape()[0], per_group = w.shape()[1], kh = w.shape()[2], kw = w.shape()[3];
    const auto stride = node.integers("stride"), dilation = node.integers("dilation"), padding = node.integers("padding");
    const int64_t groups = node.integer("groups");
    for_each_pixel(out, [&](int64_t n, int64_t o, int64_t y, int64_t x) {
      int32_t sum = node.tensor("bias").as<int32_t>()[o];
      for (int64_t c = 0; c < per_group; ++c)
        for (int64_t ky = 0; ky < kh; ++ky)
          for (int64_t kx = 0; kx < kw; ++kx) {
            const int64_t iy = y * stride[0] - padding[0] + ky * dilation[0], ix = x * stride[1] - padding[1] + kx * dilation[1];
            if (iy < 0 || ix < 0 || iy >= in.dim(2) || ix >= in.dim(3)) continue;
            const int32_t weight = w.as<int8_t>()[((o * per_group + c) * kh + ky) * kw + kx];
            sum += weight *
                   (in.at(n, o / (outputs / groups) * per_group + c, iy, ix) - multiplied_quantization(graph_, node).zero_point);
          }
      finish_layer(node, out, out.index(n, o, y, x), o, sum);
    });
  }

  void pool(const Node& node, const Values& in, Values& out) {
    const auto kernel = node.integers("kernel"), stride = node.integers("stride"), padding = node.integers("padding");
    const bool max = node.op == Op::max_pool2d;
    const int64_t dy = max ? node.integers("dilation")[0] : 1, dx = max ? node.integers("dilation")[1] : 1;
    const Quantization &qx = q(node.inputs[0]), &qy = q(node.outputs[0]);
    for_each_pixel(out, [&](int64_t n, int64_t c, int64_t y, int64_t x) {
      int32_t largest = 0, sum = 0, inside = 0, grown = 0;
      for (int64_t ky = 0; ky < kernel[0]; ++ky)
        for (int64_t kx = 0; kx < kernel[1]; ++kx) {
          const int64_t iy = y * stride[0] - padding[0] + ky * dy, ix = x * stride[1] - padding[1] + kx * dx;
          grown += iy < in.dim(2) + padding[2] && ix < in.dim(3) + padding[3];
          if (iy < 0 || ix < 0 || iy >= in.dim(2) || ix >= in.dim(3)) continue;
          largest = std::max(largest, in.at(n, c, iy, ix));
          sum += in.at(n, c, iy, ix) - qx.zero_point;
          ++inside;
        }
      int32_t result = largest;
      if (!max) {
        const int64_t divisor = node.integer("divisor") > 0              ? node.integer("divisor")
                                : node.integer("count_include_pad") != 0 ? grown
                                                                         : inside;
        const float t = static_cast<float>(sum) * ((qx.scale / qy.scale) / static_cast<float>(divisor));
        result = finish(t, qy.zero_point, node.integer("low"), node.integer("high"));
      }
      out.data[out.index(n, c, y, x)] = result;
    });
  }

  void adaptive(const Node& node, const Values& in, Values& out) {
    const Quantization &qx = q(node.inputs[0]), &qy = q(node.outputs[0]);
    const auto begin = [](int64_t i, int64_t size, int64_t count) { return i * size / count; };
    const auto end = [](int64_t i, int64_t size, int64_t count) { return ((i + 1) * size + count - 1) / count; };
    for_each_pixel(out, [&](int64_t n, int64_t c, int64_t y, int64_t x) {
      int32_t sum = 0, count = 0;
      for (int64_t iy = begin(y, in.dim(2), out.dim(2)); iy < end(y, in.dim(2), out.dim(2)); ++iy)
        for (int64_t ix = begin(x, in.dim(3), out.dim(3)); ix < end(x, in.dim(3), out.dim(3)); ++ix) {
          sum += in.at(n, c, iy, ix) - qx.zero_point;
          ++count;
        }
      const float t = static_cast<float>(sum) * ((qx.scale / qy.scale) / static_cast<float>(count));
      out.data[out.index(n, c, y, x)] = finish(t, qy.zero_point, node.integer("low"), node.integer("high"));
    });
  }

  const Graph& graph_;
  Inferred inferred_;
  std::vector<Values> values_;
};

}  // namespace niwaki::testing
