// A second implementation of docs/architecture.md, "Numbers": plain loops over NCHW arrays, for tests only.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "graph/graph.h"
#include "graph/shapes.h"

namespace niwaki::testing {

struct Array {
  Shape shape;
  std::vector<int32_t> q;   // of a u8 value
  std::vector<float> real;  // of an f32 value

  size_t index(int64_t n, int64_t c, int64_t y, int64_t x) const {
    return static_cast<size_t>(((n * shape.channels + c) * shape.height + y) * shape.width + x);
  }
  int32_t at(int64_t n, int64_t c, int64_t y, int64_t x) const { return q[index(n, c, y, x)]; }
};

class Interpreter {
 public:
  // `graph` is fused: what a residual means depends on it. inputs: one array of floats for each input.
  Interpreter(const Graph& graph, const std::vector<Array>& inputs) : graph_(graph), arrays_(graph.values().size()) {
    for (size_t i = 0; i < inputs.size(); ++i) array(graph.inputs()[i].value) = inputs[i];
    for (const Node& node : graph.nodes()) run(node);
  }
  const std::vector<float>& output(size_t i) { return array(graph_.outputs()[i].value).real; }

 private:
  Array& array(int value) { return arrays_[static_cast<size_t>(value)]; }
  const Quantization& q(int value) const { return *graph_.value(value).quantization; }

  // round_half_even(clamp(t)) + zero, within [low, high]
  static int32_t finish(float t, int32_t zero, int64_t low, int64_t high) {
    const float lowest = static_cast<float>(low - zero), highest = static_cast<float>(high - zero);
    return static_cast<int32_t>(std::nearbyintf(std::min(std::max(t, lowest), highest))) + zero;
  }

  template <typename Function>
  static void for_each(const Shape& s, const Function& function) {
    for (int64_t n = 0; n < s.images; ++n)
      for (int64_t c = 0; c < s.channels; ++c)
        for (int64_t y = 0; y < s.height; ++y)
          for (int64_t x = 0; x < s.width; ++x) function(n, c, y, x);
  }

  void run(const Node& node) {
    std::vector<Shape> shapes;
    for (int input : node.inputs) shapes.push_back(array(input).shape);
    Array& out = array(node.output);
    out.shape = infer_shape(node, shapes);
    const bool quantized = graph_.value(node.output).quantization.has_value();
    (quantized ? out.q.resize(static_cast<size_t>(out.shape.elements()))
               : out.real.resize(static_cast<size_t>(out.shape.elements())));
    const Array& in = array(node.inputs[0]);
    switch (node.op) {
      case Op::conv2d:
      case Op::linear: return convolve(node, in, out);
      case Op::max_pool2d:
      case Op::avg_pool2d: return pool(node, in, out);
      case Op::adaptive_avg_pool2d: return adaptive(node, in, out);
      case Op::quantize: {
        const float inverse = 1.0f / q(node.output).scale;
        for (size_t i = 0; i < out.q.size(); ++i) {
          const float t = in.real[i] * inverse;
          out.q[i] = std::isnan(t) ? 0 : finish(t, q(node.output).zero_point, 0, 255);
        }
        return;
      }
      case Op::dequantize:
        for (size_t i = 0; i < out.real.size(); ++i)
          out.real[i] = static_cast<float>(in.q[i] - q(node.inputs[0]).zero_point) * q(node.inputs[0]).scale;
        return;
      case Op::reshape: out.q = in.q; return;
      default:
        for_each(out.shape, [&](int64_t n, int64_t c, int64_t y, int64_t x) {
          out.q[out.index(n, c, y, x)] = element(node, in, n, c, y, x);
        });
    }
  }

  int32_t element(const Node& node, const Array& in, int64_t n, int64_t c, int64_t y, int64_t x) {
    const Quantization &a = q(node.inputs[0]), &out = q(node.output);
    switch (node.op) {
      case Op::add: {
        const Quantization& b = q(node.inputs[1]);
        const float left = static_cast<float>(in.at(n, c, y, x) - a.zero_point) * (a.scale / out.scale);
        const float right = static_cast<float>(array(node.inputs[1]).at(n, c, y, x) - b.zero_point) * (b.scale / out.scale);
        return finish(left + right, out.zero_point, node.integer("low"), node.integer("high"));
      }
      case Op::mul: {
        const Quantization& b = q(node.inputs[1]);
        const Array& other = array(node.inputs[1]);
        const bool one = other.shape.height == 1 && other.shape.width == 1;
        const int32_t product = (in.at(n, c, y, x) - a.zero_point) * (other.at(n, c, one ? 0 : y, one ? 0 : x) - b.zero_point);
        return finish(static_cast<float>(product) * ((a.scale * b.scale) / out.scale), out.zero_point, node.integer("low"),
                      node.integer("high"));
      }
      case Op::clamp:
        return static_cast<int32_t>(std::clamp<int64_t>(in.at(n, c, y, x), node.integer("low"), node.integer("high")));
      case Op::table: return node.tensor("table").data()[in.at(n, c, y, x)];
      case Op::concat:
        for (int input : node.inputs) {
          if (c < array(input).shape.channels) return array(input).at(n, c, y, x);
          c -= array(input).shape.channels;
        }
        return -1;
      case Op::slice: {
        int64_t position[3] = {c, y, x};
        const int64_t sizes[3] = {in.shape.channels, in.shape.height, in.shape.width};
        const auto axis = static_cast<size_t>(node.integer("axis") - 1);
        const int64_t start = node.integer("start");
        position[axis] =
            std::clamp(start < 0 ? start + sizes[axis] : start, int64_t{0}, sizes[axis]) + position[axis] * node.integer("step");
        return in.at(n, position[0], position[1], position[2]);
      }
      case Op::pad: {
        const auto& p = node.integers("padding");
        const int64_t ic = c - p[0], iy = y - p[2], ix = x - p[4];
        if (ic < 0 || iy < 0 || ix < 0 || ic >= in.shape.channels || iy >= in.shape.height || ix >= in.shape.width)
          return node.integer("value") < 0 ? a.zero_point : static_cast<int32_t>(node.integer("value"));
        return in.at(n, ic, iy, ix);
      }
      case Op::channel_shuffle: {
        const int64_t groups = node.integer("groups"), size = in.shape.channels / groups;
        return in.at(n, c % groups * size + c / groups, y, x);
      }
      case Op::upsample_nearest2d: return in.at(n, c, y / node.integers("scale")[0], x / node.integers("scale")[1]);
      default: return -1;
    }
  }

  void convolve(const Node& node, const Array& in, Array& out) {
    const auto& w = node.tensor("weight");
    const int64_t per_group = w.shape()[1], outputs = w.shape()[0];
    const bool image = node.op == Op::conv2d;
    const int64_t kh = image ? w.shape()[2] : 1, kw = image ? w.shape()[3] : 1, groups = image ? node.integer("groups") : 1;
    const int64_t sy = image ? node.integers("stride")[0] : 1, sx = image ? node.integers("stride")[1] : 1;
    const int64_t dy = image ? node.integers("dilation")[0] : 1, dx = image ? node.integers("dilation")[1] : 1;
    const int64_t top = image ? node.integers("padding")[0] : 0, left = image ? node.integers("padding")[1] : 0;
    const Quantization& qx = q(node.inputs[0]);
    const auto& qy = graph_.value(node.output).quantization;
    for_each(out.shape, [&](int64_t n, int64_t o, int64_t y, int64_t x) {
      int32_t acc = node.tensor("bias").as<int32_t>()[o];
      for (int64_t c = 0; c < per_group; ++c)
        for (int64_t ky = 0; ky < kh; ++ky)
          for (int64_t kx = 0; kx < kw; ++kx) {
            const int64_t iy = y * sy - top + ky * dy, ix = x * sx - left + kx * dx;
            if (iy < 0 || ix < 0 || iy >= in.shape.height || ix >= in.shape.width) continue;
            const int32_t weight = w.as<int8_t>()[((o * per_group + c) * kh + ky) * kw + kx];
            acc += weight * (in.at(n, o / (outputs / groups) * per_group + c, iy, ix) - qx.zero_point);
          }
      const float product = qx.scale * node.tensor("weight_scale").as<float>()[o];
      if (!qy) {
        out.real[out.index(n, o, y, x)] = static_cast<float>(acc) * product;
        return;
      }
      float t = static_cast<float>(acc) * (product / qy->scale);
      if (node.inputs.size() > 1) {
        const Quantization& qr = q(node.inputs[1]);
        const float residual = static_cast<float>(array(node.inputs[1]).at(n, o, y, x) - qr.zero_point) * (qr.scale / qy->scale);
        t = t + residual;
      }
      out.q[out.index(n, o, y, x)] = finish(t, qy->zero_point, node.integer("low"), node.integer("high"));
    });
  }

  void pool(const Node& node, const Array& in, Array& out) {
    const auto &kernel = node.integers("kernel"), &stride = node.integers("stride"), &padding = node.integers("padding");
    const bool max = node.op == Op::max_pool2d;
    const int64_t dy = max ? node.integers("dilation")[0] : 1, dx = max ? node.integers("dilation")[1] : 1;
    const Quantization &qx = q(node.inputs[0]), &qy = q(node.output);
    for_each(out.shape, [&](int64_t n, int64_t c, int64_t y, int64_t x) {
      int32_t largest = 0, sum = 0, inside = 0, grown = 0;
      for (int64_t ky = 0; ky < kernel[0]; ++ky)
        for (int64_t kx = 0; kx < kernel[1]; ++kx) {
          const int64_t iy = y * stride[0] - padding[0] + ky * dy, ix = x * stride[1] - padding[1] + kx * dx;
          grown += iy < in.shape.height + padding[2] && ix < in.shape.width + padding[3];
          if (iy < 0 || ix < 0 || iy >= in.shape.height || ix >= in.shape.width) continue;
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
      out.q[out.index(n, c, y, x)] = result;
    });
  }

  void adaptive(const Node& node, const Array& in, Array& out) {
    const Quantization &qx = q(node.inputs[0]), &qy = q(node.output);
    for_each(out.shape, [&](int64_t n, int64_t c, int64_t y, int64_t x) {
      const auto begin = [](int64_t i, int64_t size, int64_t count) { return i * size / count; };
      const auto end = [](int64_t i, int64_t size, int64_t count) { return ((i + 1) * size + count - 1) / count; };
      int32_t sum = 0, count = 0;
      for (int64_t iy = begin(y, in.shape.height, out.shape.height); iy < end(y, in.shape.height, out.shape.height); ++iy)
        for (int64_t ix = begin(x, in.shape.width, out.shape.width); ix < end(x, in.shape.width, out.shape.width); ++ix) {
          sum += in.at(n, c, iy, ix) - qx.zero_point;
          ++count;
        }
      const float t = static_cast<float>(sum) * ((qx.scale / qy.scale) / static_cast<float>(count));
      out.q[out.index(n, c, y, x)] = finish(t, qy.zero_point, node.integer("low"), node.integer("high"));
    });
  }

  const Graph& graph_;
  std::vector<Array> arrays_;
};

}  // namespace niwaki::testing
