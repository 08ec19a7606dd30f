// What the tests of graphs share: a network of one operator, and what it makes of inputs of given sizes.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph/fuse.h"
#include "graph/operators.h"
#include "graph/shapes.h"
#include "testing/test.h"

namespace niwaki::testing {

inline constexpr Quantization kScale{0.1f, 10};

inline Tensor bytes(DType dtype, std::vector<int64_t> shape, int value) {
  std::vector<int8_t> data(static_cast<size_t>(elements_of(shape)), static_cast<int8_t>(value));
  return Tensor::copy_of(dtype, shape, data.data());
}

inline Tensor floats(std::vector<int64_t> shape, float value = 1.0f) {
  std::vector<float> data(static_cast<size_t>(elements_of(shape)), value);
  return Tensor::copy_of(DType::f32, shape, data.data());
}

// Tensors of conv2d and linear.
inline Tensors layer(std::vector<int64_t> shape, int weight = 1, int32_t bias = 0, float scale = 0.5f) {
  const auto outputs = static_cast<size_t>(shape[0]);
  return {{"weight", bytes(DType::i8, shape, weight)},
          {"weight_scale", floats({shape[0]}, scale)},
          {"bias", Tensor::copy_of(DType::i32, {shape[0]}, std::vector<int32_t>(outputs, bias).data())}};
}

// Tensors of `layers` recurrent layers that read `inputs` features and give `hidden`, or `projected` where that is not 0.
inline Tensors recurrent_tensors(int64_t gates, int64_t inputs, int64_t hidden, int64_t layers, int64_t directions,
                                 int64_t projected = 0) {
  Tensors tensors;
  const int64_t width = projected > 0 ? projected : hidden;
  for (int64_t layer = 0; layer < layers; ++layer)
    for (int64_t direction = 0; direction < directions; ++direction) {
      const std::string end = "_l" + std::to_string(layer) + (direction == 1 ? "_reverse" : "");
      tensors["w_ih" + end] = floats({gates * hidden, layer == 0 ? inputs : directions * width});
      tensors["w_hh" + end] = floats({gates * hidden, width});
      tensors["b_ih" + end] = floats({gates * hidden});
      tensors["b_hh" + end] = floats({gates * hidden});
      if (projected > 0) tensors["w_hr" + end] = floats({projected, hidden});
    }
  return tensors;
}

inline Attribute numbers(std::vector<double> values) { return values; }
inline Attribute word(const char* value) { return std::string(value); }

inline std::string text(const Sizes& sizes) {
  std::string out;
  for (const int64_t size : sizes) {
    if (!out.empty()) out += ' ';
    out += std::to_string(size);
  }
  return out;
}

// A graph to hang nodes on. Free sizes come with the inputs that name them.
struct Net {
  Graph graph;

  // A dim for each: a number, or the name of a free size.
  int input(const char* name, DType dtype, const std::vector<std::string>& dims) {
    Dims made;
    for (const std::string& dim : dims) made.push_back(dim[0] >= '0' && dim[0] <= '9' ? Dim(std::stoll(dim)) : size(dim));
    return graph.add_input(name, dtype, std::move(made));
  }
  Dim size(const std::string& name) {
    const auto names = graph.size_names();
    for (size_t i = 0; i < names.size(); ++i)
      if (names[i] == name) return Dim::size(static_cast<int64_t>(i));
    return graph.add_size(name);
  }
  int add(const char* op, std::vector<int> inputs, Attributes attributes = {}, Tensors tensors = {},
          std::optional<Quantization> q = std::nullopt) {
    std::vector<std::optional<Quantization>> quantizations;
    if (q) quantizations.push_back(q);
    return graph.add_node(op, std::string("the ") + op, std::move(inputs), std::move(attributes), std::move(tensors),
                          std::move(quantizations));
  }
  int add_u8(const char* op, std::vector<int> inputs, Attributes attributes = {}, Tensors tensors = {}) {
    return add(op, std::move(inputs), std::move(attributes), std::move(tensors), kScale);
  }
  int quantized(const char* name, const std::vector<std::string>& dims) {
    return add_u8("quantize", {input(name, DType::f32, dims)});
  }

  // "batch, 8, height // 2"
  std::string dims(int value) const {
    std::string out;
    for (const Dim& dim : graph.value(value).dims) out += (out.empty() ? "" : ", ") + dim.text(graph.size_names());
    return out;
  }
  // "2 8 4" of a value, of the last one where none is given.
  std::string shape(const std::vector<Sizes>& inputs, int value = -1) const {
    const auto shapes = infer_shapes(graph, inputs).shapes;
    return text(value < 0 ? shapes.back() : shapes.at(static_cast<size_t>(value)));
  }
  bool is_local(const std::vector<Sizes>& inputs) const { return is_batch_local(graph, infer_shapes(graph, inputs)); }
};

// A quantized input of 8 channels.
struct Images : Net {
  int x;
  explicit Images(const std::vector<std::string>& dims = {"batch", "8", "height", "width"}) { x = quantized("x", dims); }
  FusedGraph fused(int value) {
    graph.add_output(add("dequantize", {value}), "y");
    return fuse(graph);
  }
};

struct Input {
  DType dtype;
  Sizes shape;
};
inline Input f32(Sizes shape) { return {DType::f32, std::move(shape)}; }
inline Input u8(Sizes shape) { return {DType::u8, std::move(shape)}; }
inline Input i64(Sizes shape) { return {DType::i64, std::move(shape)}; }
inline Input boolean(Sizes shape) { return {DType::boolean, std::move(shape)}; }

// What one operator makes of inputs of these sizes, which its graph knows beforehand, or does not.
class OneOperator {
 public:
  OneOperator(const char* op, const std::vector<Input>& inputs, const Attributes& attributes, const Tensors& tensors,
              bool is_free, std::optional<Quantization> q) {
    std::vector<Sizes> shapes;
    std::vector<int> values;
    for (const Input& input : inputs) {
      Dims dims;
      for (const int64_t size : input.shape) {
        const auto count = net_.graph.sizes().size();
        dims.push_back(is_free ? net_.graph.add_size("size" + std::to_string(count)) : Dim(size));
      }
      shapes.push_back(input.shape);
      const bool quantized = input.dtype == DType::u8;
      const int value = net_.graph.add_input("in", quantized ? DType::f32 : input.dtype, std::move(dims));
      values.push_back(quantized ? net_.add_u8("quantize", {value}) : value);
    }
    net_.add(op, values, attributes, tensors, q);
    const Inferred inferred = infer_shapes(net_.graph, shapes);
    for (const int output : net_.graph.nodes().back().outputs) {
      const Value& value = net_.graph.value(output);
      const Sizes& shape = inferred.shapes[static_cast<size_t>(output)];
      text_ += (text_.empty() ? "" : " | ") + std::string(dtype_name(value.dtype)) + ": " + text(shape);
      CHECK_EQ(value.dims.size(), shape.size());
      // What was known before the sizes were is right.
      for (size_t i = 0; i < shape.size(); ++i)
        if (!value.dims[i].is_unknown()) CHECK_EQ(value.dims[i].evaluate(inferred.sizes), shape[i]);
    }
  }
  const std::string& text_of_outputs() const { return text_; }

 private:
  Net net_;
  std::string text_;
};

// "float32: 2 3 | int64: 2 3", the same whether the sizes are free or not, or the refusal.
inline std::string made(const char* op, const std::vector<Input>& inputs, const Attributes& attributes = {},
                        const Tensors& tensors = {}, std::optional<Quantization> q = std::nullopt) {
  std::string known, refused;
  try {
    known = OneOperator(op, inputs, attributes, tensors, false, q).text_of_outputs();
  } catch (const Error& error) {
    refused = error.what();
  }
  try {
    CHECK_EQ(OneOperator(op, inputs, attributes, tensors, true, q).text_of_outputs(), known);
  } catch (const Error& error) {
    if (refused.empty()) fail(op, 0, std::string("is refused where its sizes are free: ") + error.what());
  }
  if (!refused.empty()) throw Error(Status::invalid_argument, refused);
  return known;
}

}  // namespace niwaki::testing
