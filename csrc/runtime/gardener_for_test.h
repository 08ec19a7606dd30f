// Grows random networks of operators that fit each other, for tests.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "graph/graph.h"
#include "graph/operators.h"
#include "graph/shapes.h"
#include "testing/test.h"

namespace niwaki::testing {

// A network for images [batch, C, height, width] of any size; every branch of it fits for `height` x `width`.
class Gardener {
 public:
  Gardener(uint64_t seed, int64_t height, int64_t width) : random_(seed), sizes_{2, height, width} {
    batch_ = graph.add_size("batch");
    dims_ = {batch_, pick({1, 3, 4, 8}), graph.add_size("height"), graph.add_size("width")};
    add_input("x");
    if (random_.integer(0, 3) == 0) add_input("second");
    const int steps = random_.integer(4, 12);
    for (int i = 0; i < steps; ++i) grow();
    finish();
  }
  Graph graph;
  std::set<Op> used;

 private:
  struct Leaf {
    int value;
    Dims dims;
    Sizes shape;  // of two images of the first size
    bool read = false;
    bool is_float = false;
    int64_t channels() const { return shape[shape.size() == 3 ? 2 : 1]; }
  };

  int64_t pick(std::initializer_list<int64_t> choices) {
    return choices.begin()[random_.integer(0, static_cast<int>(choices.size()) - 1)];
  }
  bool chance(int one_in) { return random_.integer(1, one_in) == 1; }
  Quantization scale() { return {random_.real(0.02f, 0.3f), static_cast<int32_t>(pick({0, 1, 77, 128, 255}))}; }
  Quantization scale_of(const Leaf& leaf) const { return *graph.value(leaf.value).quantization; }
  void bounds(Attributes& attributes) {
    if (chance(2)) return;
    attributes["low"] = Dims{pick({0, 40, 128})};
    attributes["high"] = Dims{pick({255, 200, 130})};
  }

  void add_input(const char* name) {
    const int value = graph.add_input(name, DType::f32, dims_);
    if (chance(4)) graph.add_output(value, std::string(name) + " back");
    leaves_.push_back({value, dims_, {sizes_[0], dims_[1].value(), sizes_[1], sizes_[2]}, false, true});
    add(Op::quantize, {leaves_.size() - 1}, {}, {}, scale());
  }

  // Late values more often than early ones, so that networks become deep, with early ones kept for long.
  size_t choose() {
    for (;;) {
      const int last = static_cast<int>(leaves_.size()) - 1;
      const auto leaf = static_cast<size_t>(random_.integer(0, 2) == 0 ? random_.integer(0, last)
                                                                       : random_.integer(std::max(0, last - 1), last));
      if (!leaves_[leaf].is_float) return leaf;
    }
  }

  // Adds the node if it fits; a network that does not is simply tried again elsewhere.
  bool add(Op op, std::vector<size_t> from, Attributes attributes, Tensors tensors, std::optional<Quantization> quantization) {
    std::vector<int> inputs;
    for (size_t leaf : from) inputs.push_back(leaves_[leaf].value);
    const Graph before = graph;
    try {
      const int value = graph.add_node(op, std::string(op_name(op)) + " " + std::to_string(graph.nodes().size()), inputs,
                                       std::move(attributes), std::move(tensors), {quantization});
      std::vector<Sizes> in;
      for (const Port& port : graph.inputs())
        in.push_back({sizes_[0], graph.value(port.value).dims[1].value(), sizes_[1], sizes_[2]});
      const Sizes shape = infer_shapes(graph, in).shapes.back();
      if (elements_of(shape) > 24000 || elements_of(shape) == 0) throw Error(Status::unsupported, "not a size for a test");
      for (size_t leaf : from) leaves_[leaf].read = true;
      leaves_.push_back({value, graph.value(value).dims, shape, false, !quantization});
      used.insert(op);
      return true;
    } catch (const Error&) {
      graph = before;
      return false;
    }
  }

  Tensors layer(std::vector<int64_t> shape, const Quantization& in) {
    int64_t reduction = 1;
    for (size_t i = 1; i < shape.size(); ++i) reduction *= shape[i];
    const int kept = static_cast<int>(pick({0, 20, 60, 100}));
    std::vector<int8_t> weight(static_cast<size_t>(shape[0] * reduction));
    for (int8_t& w : weight) w = random_.integer(0, 99) < kept ? static_cast<int8_t>(random_.integer(-127, 127)) : int8_t{0};
    std::vector<float> scale(static_cast<size_t>(shape[0]));
    std::vector<int32_t> bias(scale.size());
    for (float& s : scale) s = random_.real(0.2f, 1.0f) / (in.scale * 70.0f * static_cast<float>(reduction + 1));
    for (int32_t& b : bias) b = random_.integer(-3000, 3000);
    return {{"weight", Tensor::copy_of(DType::i8, shape, weight.data())},
            {"weight_scale", Tensor::copy_of(DType::f32, {shape[0]}, scale.data())},
            {"bias", Tensor::copy_of(DType::i32, {shape[0]}, bias.data())}};
  }

  bool convolution(size_t from, bool depthwise, int64_t outputs, bool keep_size, bool float_output) {
    const Leaf in = leaves_[from];
    if (in.shape.size() != 4) return false;
    const int64_t kernel = keep_size ? pick({1, 3}) : pick({1, 2, 3, 5});
    const int64_t groups = depthwise ? in.channels() : in.channels() % 2 == 0 && outputs % 2 == 0 ? pick({1, 1, 2}) : 1;
    Attributes attributes = {{"groups", Dims{groups}}, {"padding", Dims{kernel / 2}}};
    if (!keep_size) {
      attributes["stride"] = Dims{pick({1, 1, 2}), pick({1, 2})};
      attributes["padding"] = Dims{pick({0, 1, 2}), pick({0, 1}), pick({0, 1}), pick({0, 3})};
      attributes["dilation"] = Dims{pick({1, 1, 2}), 1};
      bounds(attributes);
    }
    if (!add(Op::conv2d, {from}, attributes, layer({outputs, in.channels() / groups, kernel, kernel}, scale_of(in)),
             float_output ? std::nullopt : std::optional(scale())))
      return false;
    if (!float_output) bend_last();
    return true;
  }

  // Every fourth time, a function of each byte of the last leaf, which goes into the layer that makes it.
  void bend_last() {
    if (!chance(4)) return;
    if (chance(2)) look_up(leaves_.size() - 1);
    else prelu(leaves_.size() - 1);
  }

  void look_up(size_t from) {
    std::vector<uint8_t> table(256);
    for (uint8_t& entry : table) entry = static_cast<uint8_t>(random_.integer(0, 255));
    add(Op::table, {from}, {}, {{"table", Tensor::copy_of(DType::u8, {256}, table.data())}}, scale());
  }

  void prelu(size_t from) {
    const int64_t channels = leaves_[from].shape[1];
    std::vector<float> slope(static_cast<size_t>(channels));
    for (float& each : slope) each = random_.real(-0.5f, 1.5f);
    Attributes attributes;
    bounds(attributes);
    add(Op::prelu, {from}, attributes, {{"slope", Tensor::copy_of(DType::f32, {channels}, slope.data())}}, scale());
  }

  void grow() {
    const size_t from = choose();
    const Leaf leaf = leaves_[from];
    const Quantization same = scale_of(leaf);
    if (leaf.shape.size() < 4 && random_.integer(0, 2) == 0) {
      Attributes attributes;
      bounds(attributes);
      add(Op::linear, {from}, attributes, layer({pick({1, 5, 16, 33, leaf.channels()}), leaf.channels()}, same), scale());
      const size_t last = leaves_.size() - 1;
      if (leaves_[last].shape == leaf.shape && last != from && chance(2)) add(Op::add, {from, last}, {}, {}, scale());
      bend_last();
      return;
    }
    switch (random_.integer(0, 19)) {
      case 0:
        if (random_.integer(0, 2) == 0) convolution(from, false, leaf.channels(), true, false);
        else convolution(from, false, pick({1, 4, 6, 16, 24}), false, false);
        return;
      case 1: convolution(from, true, leaf.channels(), false, false); return;
      case 2: {  // a residual block
        if (!convolution(from, random_.integer(0, 3) == 0, leaf.channels(), true, false)) return;
        const size_t last = leaves_.size() - 1;
        if (leaves_[last].shape == leaf.shape) add(Op::add, {last, from}, {{"low", Dims{pick({0, 9})}}}, {}, scale());
        bend_last();
        return;
      }
      case 3:
        add(Op::max_pool2d, {from},
            {{"kernel", Dims{pick({2, 3}), pick({1, 3})}},
             {"stride", Dims{pick({1, 2})}},
             {"padding", Dims{pick({0, 1})}},
             {"dilation", Dims{pick({1, 2})}},
             {"ceil_mode", Dims{pick({0, 1})}}},
            {}, same);
        return;
      case 4: {
        Attributes attributes = {{"kernel", Dims{pick({1, 2}), pick({2, 3})}}, {"stride", Dims{pick({1, 2, 3})}},
                                 {"padding", Dims{pick({0, 1}), 1, 0, 1}},     {"ceil_mode", Dims{pick({0, 1})}},
                                 {"count_include_pad", Dims{pick({0, 1})}},    {"divisor", Dims{pick({0, 0, 3})}}};
        bounds(attributes);
        add(Op::avg_pool2d, {from}, attributes, {}, scale());
        return;
      }
      case 5: add(Op::adaptive_avg_pool2d, {from}, {{"size", Dims{pick({1, 2, 5}), pick({1, 3})}}}, {}, scale()); return;
      case 6: {
        const size_t other = choose();
        Attributes attributes;
        bounds(attributes);
        if (chance(3)) {
          attributes["function"] = std::string(chance(2) ? "maximum" : "minimum");
          add(Op::extreme, {from, other}, attributes, {}, scale());
        } else {
          add(random_.integer(0, 1) == 0 ? Op::add : Op::mul, {from, other}, attributes, {}, scale());
        }
        return;
      }
      case 7:  // squeeze and excite
        if (add(Op::adaptive_avg_pool2d, {from}, {{"size", Dims{1}}}, {}, scale()))
          if (add(Op::mul, {from, leaves_.size() - 1}, {}, {}, scale()) && leaf.shape.size() == 4 && chance(2))
            add(Op::conv2d, {leaves_.size() - 1}, {}, layer({pick({4, 9, 24}), leaf.channels(), 1, 1}, scale_of(leaves_.back())),
                scale());
        return;
      case 8: add(Op::clamp, {from}, {{"low", Dims{pick({0, 30})}}, {"high", Dims{pick({255, 180})}}}, {}, same); return;
      case 9: return look_up(from);
      case 10: return concatenate(from);
      case 11:
        add(Op::slice, {from},
            {{"axis", Dims{pick({1, 1, 2, static_cast<int64_t>(leaf.shape.size()) - 1})}},
             {"start", Dims{pick({0, 1, 4, -3, -1})}},
             {"end", Dims{pick({2, 8, -1, 1000})}},
             {"step", Dims{pick({1, 1, 2})}}},
            {}, same);
        return;
      case 12: {
        Dims padding = {0, 0};
        for (size_t i = 1; i < leaf.shape.size(); ++i) padding.insert(padding.end(), {pick({0, 0, 1, 4}), pick({0, 2})});
        add(Op::pad, {from}, {{"padding", padding}, {"q", Dims{pick({-1, 7})}}}, {}, same);
        return;
      }
      case 13: reshape(from); return;
      case 14: add(Op::upsample_nearest2d, {from}, {{"scale", Dims{pick({1, 2, 3}), pick({1, 2})}}}, {}, same); return;
      case 15: permute(from); return;
      case 16:
        if (leaf.shape.size() != 4) return permute(from);
        if (add(Op::reshape, {from}, {{"shape", Dims{leaf.dims[0], leaf.dims[1], -1}}}, {}, same))  // to tokens
          add(Op::permute, {leaves_.size() - 1}, {{"axes", Dims{0, 2, 1}}}, {}, same);
        return;
      case 17: return resize(from);
      case 18: return prelu(from);
      default:
        if (leaf.shape.size() == 4 && chance(2))
          add(Op::pixel_shuffle, {from}, {{"factors", Dims{pick({1, 2, 2, 3}), pick({1, 2, 2, 4})}}}, {}, same);
        else add(Op::channel_shuffle, {from}, {{"groups", Dims{pick({1, 2, 4})}}}, {}, same);
        return;
    }
  }

  // To a size of its own, or of the input's.
  void resize(size_t from) {
    const Leaf leaf = leaves_[from];
    const char* mode = std::array{"nearest", "nearest-exact", "linear", "cubic"}[static_cast<size_t>(pick({0, 1, 2, 2, 3}))];
    Dims size;
    for (size_t axis = 2; axis < leaf.shape.size(); ++axis)
      size.push_back(chance(2) ? Dim(pick({1, 3, 7, 19, 40})) : dims_[axis] * pick({1, 2}));
    Attributes attributes = {{"mode", std::string(mode)}, {"size", size}};
    const bool nearest = std::string(mode).starts_with("nearest");
    if (!nearest && chance(3)) attributes["align_corners"] = Dims{1};
    if (chance(3)) attributes["scales"] = std::vector<double>{1.5};
    add(Op::resize, {from}, attributes, {}, nearest ? scale_of(leaf) : scale());
  }

  void reshape(size_t from) {
    const Dims& dims = leaves_[from].dims;
    Dims shape = {dims[0], -1};
    switch (random_.integer(0, 3)) {
      case 0: break;
      case 1: shape = {dims[0], -1, dims[1]}; break;
      case 2: shape = {dims[0], dims[1], 1, -1}; break;
      default: shape = {dims[0], 1, -1, dims.back()}; break;
    }
    add(Op::reshape, {from}, {{"shape", shape}}, {}, scale_of(leaves_[from]));
  }

  void permute(size_t from) {
    Dims axes;
    for (size_t i = 0; i < leaves_[from].dims.size(); ++i) axes.emplace_back(static_cast<int64_t>(i));
    for (size_t i = axes.size() - 1; i > 1; --i)
      std::swap(axes[i], axes[static_cast<size_t>(random_.integer(1, static_cast<int>(i)))]);
    add(Op::permute, {from}, {{"axes", axes}}, {}, scale_of(leaves_[from]));
  }

  // Parts of one scale, made for it: written in place where they begin with a group, copied where not.
  void concatenate(size_t from) {
    const Quantization same = scale_of(leaves_[from]);
    std::vector<size_t> parts = {from};
    const int count = random_.integer(1, 3);
    const int64_t channels = leaves_[from].channels();
    for (int i = 0; i < count; ++i) {
      if (chance(4)) {
        parts.push_back(parts.front());
        continue;
      }
      const int64_t outputs = pick({4, 4, 8, 3});
      const bool made = leaves_[from].shape.size() == 4
                            ? add(Op::conv2d, {from}, {}, layer({outputs, channels, 1, 1}, same), same)
                            : add(Op::linear, {from}, {}, layer({outputs, channels}, same), same);
      if (made) parts.push_back(leaves_.size() - 1);
    }
    if (chance(2)) std::reverse(parts.begin(), parts.end());
    add(Op::concat, parts, {{"axis", Dims{leaves_[from].shape.size() == 3 && !chance(3) ? 2 : 1}}}, {}, same);
  }

  // Float32 on the way out, moved or not, some of it more than once.
  void finish() {
    const size_t count = leaves_.size();
    for (size_t i = 0; i < count; ++i) {
      if (leaves_[i].read || leaves_[i].is_float) continue;
      const size_t rank = leaves_[i].shape.size();
      if (rank == 4 && chance(4)) convolution(i, random_.integer(0, 2) == 0, leaves_[i].channels(), true, true);
      if (rank < 4 && chance(2)) add(Op::linear, {i}, {}, layer({7, leaves_[i].channels()}, scale_of(leaves_[i])), std::nullopt);
      if (!leaves_[i].read) add(Op::dequantize, {i}, {}, {}, std::nullopt);
    }
    for (size_t i = 0; i < leaves_.size(); ++i) {
      if (!leaves_[i].is_float) continue;
      const Dims& dims = leaves_[i].dims;
      if (chance(4)) add(Op::reshape, {i}, {{"shape", Dims{dims[0], -1}}}, {}, std::nullopt);
      if (chance(4))
        add(Op::slice, {i}, {{"axis", Dims{1}}, {"start", Dims{pick({0, 1})}}, {"end", Dims{pick({2, 3, 1000})}}}, {},
            std::nullopt);
      if (chance(6)) add(Op::concat, {i, i}, {{"axis", Dims{1}}}, {}, std::nullopt);
      if (leaves_.size() > 60) break;
    }
    for (const Leaf& leaf : leaves_) {
      if (!leaf.is_float || graph.value(leaf.value).node < 0) continue;
      if (!leaf.read || chance(3)) graph.add_output(leaf.value, std::string("y") + std::to_string(leaf.value));
      if (chance(8)) graph.add_output(leaf.value, std::string("again") + std::to_string(leaf.value));
    }
  }

  Random random_;
  Sizes sizes_;
  Dim batch_;
  Dims dims_;
  std::vector<Leaf> leaves_;
};

}  // namespace niwaki::testing
