#include "graph/fuse.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "graph/fused_parts.h"
#include "graph/heads.h"
#include "graph/operators.h"
#include "graph/phases.h"

namespace niwaki {

// Each pass goes through the nodes once, in their order. Values that went away stand for others, which readers ask for when they are visited.
class Fuser {
 public:
  explicit Fuser(Graph graph)
      : graph_(std::move(graph)),
        fused_(graph_.nodes().size()),
        gone_(graph_.nodes().size(), false),
        bounded_(graph_.nodes().size(), false),
        stands_for_(graph_.values().size()),
        output_(graph_.values().size(), false) {
    for (size_t i = 0; i < stands_for_.size(); ++i) stands_for_[i] = static_cast<int>(i);
    for (const Port& port : graph_.outputs_) output_[static_cast<size_t>(port.value)] = true;
    for (const State& state : graph_.states_)
      if (state.next >= 0) output_[static_cast<size_t>(state.next)] = true;
  }

  FusedGraph run() {
    for (size_t i = 0; i < graph_.nodes_.size(); ++i) simplify(i);
    drop_unused();
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (!gone_[i] && node(i).op == Op::reshape) fuse_shuffle(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (!gone_[i] && node(i).op == Op::conv2d) fuse_pad(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (!gone_[i] && node(i).op == Op::clamp) fuse_clamp(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (!gone_[i] && node(i).op == Op::cast) fuse_place(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (!gone_[i] && node(i).op == Op::add) fuse_add(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)  // behind the sums of residuals
      if (!gone_[i] && (node(i).op == Op::table || node(i).op == Op::prelu)) fuse_after(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (!gone_[i] && node(i).op == Op::conv2d) split_phases(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (!gone_[i] && node(i).op == Op::conv2d) fuse_product(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (!gone_[i] && node(i).op == Op::attention) fuse_heads(i);
    for (size_t i = 0; i < graph_.nodes_.size(); ++i)
      if (!gone_[i] && node(i).op == Op::permute) fuse_tokens(i);
    return collect();
  }

 private:
  Node& node(size_t index) { return graph_.nodes_[index]; }
  const Value& value(int index) const { return graph_.value(index); }
  int maker(int value) const { return graph_.value(value).node; }
  bool is_output(int value) const { return output_[static_cast<size_t>(value)]; }  // of the graph, or what a state becomes
  int& uses(int value) { return uses_[static_cast<size_t>(value)]; }

  // The node that makes a value, where it is one of this operator.
  Node* made_by(Op op, int value) {
    const int from = maker(value);
    return from >= 0 && node(static_cast<size_t>(from)).op == op ? &node(static_cast<size_t>(from)) : nullptr;
  }

  // Readers of the node's output read `value`.
  void remove(size_t index, int value) {
    gone_[index] = true;
    stands_for_[static_cast<size_t>(node(index).outputs[0])] = value;
    if (const int from = maker(value); from >= 0) remember(static_cast<size_t>(from), index);
  }

  void remember(size_t keeper, size_t index) {
    auto& names = fused_[keeper];
    names.push_back(node(index).name);
    names.insert(names.end(), fused_[index].begin(), fused_[index].end());
  }

  // `maker` takes over `index` and makes its value in its place.
  void absorb(size_t maker, size_t index) {
    uses(node(maker).outputs[0]) = 0;
    graph_.values_[static_cast<size_t>(node(maker).outputs[0])].node = -2;
    node(maker).outputs = node(index).outputs;
    graph_.values_[static_cast<size_t>(node(index).outputs[0])].node = static_cast<int>(maker);
    remember(maker, index);
    gone_[index] = true;
  }

  void simplify(size_t index) {
    Node& here = node(index);
    for (int& input : here.inputs)
      if (input >= 0) input = stands_for_[static_cast<size_t>(input)];
    join_moves(here);
    if (is_output(here.outputs[0])) return;  // somebody has to make it
    if (here.op == Op::quantize) {
      const Node* before = made_by(Op::dequantize, here.inputs[0]);
      if (before != nullptr && gives_back(*before, here)) remove(index, before->inputs[0]);
    } else if (leaves_as_is(here)) {
      const int from = maker(here.inputs[0]);
      if (here.op == Op::clamp && from >= 0) bounded_[static_cast<size_t>(from)] = true;
      remove(index, here.inputs[0]);
    }
  }

  // True where (q - z) s / s rounds to q - z: s and the largest product are finite, and 1 / s is, as for every scale.
  bool gives_back(const Node& dequantize, const Node& quantize) const {
    const auto &in = value(dequantize.inputs[0]).quantization, &out = value(quantize.outputs[0]).quantization;
    return in == out && std::isfinite(in->scale * 255.0f);
  }

  bool leaves_as_is(const Node& here) const {
    switch (here.op) {
      case Op::clamp: return here.integer("low") == 0 && here.integer("high") == 255;
      case Op::cast: return value(here.inputs[0]).dtype == value(here.outputs[0]).dtype;
      case Op::reshape:
      case Op::expand: return value(here.inputs[0]).dims == value(here.outputs[0]).dims;
      case Op::permute: {
        const auto axes = here.integers("axes");
        return std::is_sorted(axes.begin(), axes.end());
      }
      default: return false;
    }
  }

  // The first of two moves stays for others who read it.
  void join_moves(Node& here) {
    if (here.op == Op::reshape) {
      if (const Node* before = made_by(Op::reshape, here.inputs[0])) here.inputs = before->inputs;
    } else if (here.op == Op::permute) {
      if (const Node* before = made_by(Op::permute, here.inputs[0])) {
        Dims& axes = std::get<Dims>(here.attributes.at("axes"));
        for (Dim& axis : axes) axis = before->dims("axes")[static_cast<size_t>(axis.value())];
        here.inputs = before->inputs;
      }
    }
  }

  void drop_unused() {
    uses_.assign(graph_.values_.size(), 0);
    for (size_t i = 0; i < output_.size(); ++i) uses_[i] = output_[i];
    for (size_t i = graph_.nodes_.size(); i-- > 0;) {
      if (gone_[i]) continue;
      const auto& outputs = node(i).outputs;
      gone_[i] = std::none_of(outputs.begin(), outputs.end(), [&](int value) { return uses(value) > 0; });
      if (gone_[i]) continue;
      for (const int input : node(i).inputs)
        if (input >= 0) ++uses(input);
    }
  }

  // [N, C r s, H, W] -> [N, C, r, s, H, W] -> [N, C, H, r, W, s] -> [N, C, H r, W s] of bytes, or [N, C s, L] -> [N, C, s, L] -> ...: what
  // torch.pixel_shuffle is, and the end of a transposed convolution.
  void fuse_shuffle(size_t index) {
    const int swapped = node(index).inputs[0];
    const Node* permute = made_by(Op::permute, swapped);
    const Node* split = permute == nullptr ? nullptr : made_by(Op::reshape, permute->inputs[0]);
    if (split == nullptr || !value(split->inputs[0]).quantization) return;
    const int from = split->inputs[0];
    const Dims &in = value(from).dims, &parts = value(permute->inputs[0]).dims;
    const auto axes = permute->integers("axes");
    const bool image = in.size() == 4 && axes == std::vector<int64_t>{0, 1, 4, 2, 5, 3};
    if (!image && !(in.size() == 3 && axes == std::vector<int64_t>{0, 1, 3, 2})) return;
    const Dim rows = image ? parts[2] : Dim(1), columns = parts[image ? 3 : 2];
    if (!rows.is_constant() || !columns.is_constant() || rows.value() < 1 || columns.value() < 1) return;
    Dims all = {in[0], parts[1] * rows * columns}, made = {in[0], parts[1]};
    for (size_t axis = 2; axis < in.size(); ++axis) {
      all.push_back(parts[axis + in.size() - 2]);
      made.push_back(in[axis] * (image && axis == 2 ? rows : columns));
    }
    if (parts[0] != in[0] || all != in || made != value(node(index).outputs[0]).dims) return;
    node(index).op = Op::pixel_shuffle;
    node(index).attributes = {{"factors", Dims{rows, columns}}};
    node(index).inputs = {from};
    ++uses(from);
    release(swapped, index);
  }

  // What is written beside an image is what the convolution reads there anyhow: the zero point. A kernel of one pixel reads none of it.
  void fuse_pad(size_t index) {
    Node& conv = node(index);
    const int input = conv.inputs[0], from = maker(input);
    const auto& kernel = conv.tensor("weight").shape();
    if (from < 0 || uses(input) != 1 || (kernel[2] == 1 && kernel[3] == 1)) return;
    const Node& pad = node(static_cast<size_t>(from));
    if (pad.op != Op::pad || pad.word("mode") != "constant") return;
    const int64_t q = pad.integer("q");
    if (q != -1 && q != value(input).quantization->zero_point) return;
    const Dims& ends = pad.dims("padding");  // before and after each axis
    if (!std::all_of(ends.begin(), ends.begin() + 4, [](const Dim& end) { return end == Dim(0); })) return;
    const Dims padding = conv.dims("padding");  // before rows and columns, and after them
    conv.attributes["padding"] = Dims{padding[0] + ends[4], padding[1] + ends[6], padding[2] + ends[5], padding[3] + ends[7]};
    conv.inputs[0] = pad.inputs[0];
    uses(input) = 0;
    remember(index, static_cast<size_t>(from));
    gone_[static_cast<size_t>(from)] = true;
  }

  void fuse_clamp(size_t index) {
    const Node& clamp = node(index);
    const int64_t low = clamp.integer("low"), high = clamp.integer("high");
    const int input = clamp.inputs[0], from = maker(input);
    if (from < 0 || uses(input) != 1) return;
    Node& before = node(static_cast<size_t>(from));
    if (before.has("low")) {
      // Right for ranges that do not meet, too: all of the first then falls on one end of the second.
      before.attributes["low"] = Dims{std::clamp(before.integer("low"), low, high)};
      before.attributes["high"] = Dims{std::clamp(before.integer("high"), low, high)};
    } else if (before.op == Op::table) {
      Tensor& table = before.tensors["table"];
      uint8_t clamped[256];
      for (int i = 0; i < 256; ++i) clamped[i] = static_cast<uint8_t>(std::clamp<int64_t>(table.data()[i], low, high));
      table = Tensor::copy_of(DType::u8, {256}, clamped);
    } else {
      return;
    }
    absorb(static_cast<size_t>(from), index);
  }

  // Places that an arg_reduce finds are written as the integers that are wanted of them: a byte for each pixel, not eight.
  void fuse_place(size_t index) {
    const int input = node(index).inputs[0];
    const DType dtype = value(node(index).outputs[0]).dtype;
    if (made_by(Op::arg_reduce, input) == nullptr || uses(input) != 1) return;
    if (dtype == DType::byte || dtype == DType::i8 || dtype == DType::i32) absorb(static_cast<size_t>(maker(input)), index);
  }

  void fuse_add(size_t index) {
    const Node& add = node(index);
    const int a = maker(add.inputs[0]), b = maker(add.inputs[1]);
    const int later = a > b ? 0 : 1;
    const int from = std::max(a, b);
    if (from < 0 || a == b || uses(add.inputs[static_cast<size_t>(later)]) != 1) return;
    if (bounded_[static_cast<size_t>(from)]) return;  // a sum inside the layer would not be cut off where its result was
    Node& layer = node(static_cast<size_t>(from));
    if (layer.op != Op::linear && (layer.op != Op::conv2d || is_depthwise(layer))) return;
    if (layer.inputs.size() > 1 || layer.integer("low") != 0 || layer.integer("high") != 255) return;
    if (!factors_fit(layer, add)) return;
    layer.inputs.push_back(add.inputs[static_cast<size_t>(1 - later)]);
    layer.attributes["low"] = add.attributes.at("low");
    layer.attributes["high"] = add.attributes.at("high");
    absorb(static_cast<size_t>(from), index);
  }

  // True where the layer's multipliers stay finite when it writes in the scale of the sum.
  bool factors_fit(const Node& layer, const Node& add) const {
    const Tensor& scales = layer.tensor("weight_scale");
    const float in = value(layer.inputs[0]).quantization->scale, out = value(add.outputs[0]).quantization->scale;
    return std::all_of(scales.as<float>(), scales.as<float>() + scales.elements(),
                       [&](float scale) { return (in * scale) / out <= kMaxFactor; });
  }

  // A gate, as of squeeze-and-excite. Pixels of such a convolution know nothing of each other, so some are multiplied at a time.
  void fuse_product(size_t index) {
    Node& conv = node(index);
    const int input = conv.inputs[0];
    const Node* product = made_by(Op::mul, input);
    if (product == nullptr || uses(input) != 1 || is_depthwise(conv) || !value(conv.outputs[0]).quantization) return;
    const auto& kernel = conv.tensor("weight").shape();
    const Dims& padding = conv.dims("padding");
    const bool pointwise = kernel[2] == 1 && kernel[3] == 1 && conv.integers("stride") == std::vector<int64_t>{1, 1} &&
                           std::all_of(padding.begin(), padding.end(), [](const Dim& size) { return size == Dim(0); });
    // Sizes that only a run could compare would not be compared any more.
    const Dims &data = value(product->inputs[0]).dims, &factors = value(product->inputs[1]).dims;
    if (!pointwise || factors != Dims{data[0], data[1], 1, 1}) return;
    const Quantization& made = *value(input).quantization;
    conv.attributes[kProduct] =
        std::vector<double>{static_cast<double>(made.scale), static_cast<double>(made.zero_point),
                            static_cast<double>(product->integer("low")), static_cast<double>(product->integer("high"))};
    conv.inputs.resize(kFactors, -1);
    conv.inputs.push_back(product->inputs[1]);
    conv.inputs[0] = product->inputs[0];
    const auto gone = static_cast<size_t>(maker(input));
    uses(input) = 0;
    remember(index, gone);
    gone_[gone] = true;
  }

  void fuse_after(size_t index) {
    const Node& after = node(index);
    const int input = after.inputs[0], from = maker(input);
    if (from < 0 || uses(input) != 1) return;
    Node& layer = node(static_cast<size_t>(from));
    const bool table = after.op == Op::table;  // the channels of a prelu are the second axis, whatever the rank
    if ((layer.op != Op::conv2d && (layer.op != Op::linear || !table)) || layer.has(kSums)) return;
    const Quantization& sums = *value(input).quantization;
    layer.attributes[kSums] = std::vector<double>{static_cast<double>(sums.scale), static_cast<double>(sums.zero_point)};
    if (!table) layer.attributes[kSlopeBounds] = Dims{after.integer("low"), after.integer("high")};
    const char* const tensor = table ? "table" : "slope";
    layer.tensors[tensor] = after.tensor(tensor);
    absorb(static_cast<size_t>(from), index);
  }

  void split_phases(size_t index) {
    const int input = node(index).inputs[0];
    Node* quantize = made_by(Op::quantize, input);
    if (quantize == nullptr || uses(input) != 1 || is_depthwise(node(index))) return;
    if (!split_into_phases(*quantize, node(index))) return;
    Dims& dims = graph_.values_[static_cast<size_t>(input)].dims;
    dims = {dims[0], node(index).tensor("weight").shape()[1], floor_div(dims[2] + 1, 2), floor_div(dims[3] + 1, 2)};
  }

  // Axes that swap heads and tokens, the last two but one, of values with images in front of them.
  static bool swaps_heads(const Node& permute) {
    const auto axes = permute.integers("axes");
    const auto rank = static_cast<int64_t>(axes.size());
    for (int64_t i = 0; i < rank; ++i)
      if (axes[static_cast<size_t>(i)] != (i == rank - 3 ? rank - 2 : i == rank - 2 ? rank - 3 : i)) return false;
    return rank >= 4;
  }

  // What queries, keys or values are where their layer has them, and their form there.
  std::pair<int, HeadForm> heads_behind(int input) {
    if (const Node* permute = made_by(Op::permute, input); permute != nullptr && swaps_heads(*permute))
      return {permute->inputs[0], HeadForm::tokens_first};
    const std::pair<int, HeadForm> none{input, HeadForm::heads_first};
    // [images, tokens, 3, heads, width] -> [3, images, heads, tokens, width] -> one of the three
    const Node* reshape = made_by(Op::reshape, input);
    const Node* slice = reshape == nullptr ? nullptr : made_by(Op::slice, reshape->inputs[0]);
    const Node* permute = slice == nullptr ? nullptr : made_by(Op::permute, slice->inputs[0]);
    if (permute == nullptr || permute->integers("axes") != std::vector<int64_t>{2, 0, 3, 1, 4}) return none;
    const Dims &all = value(permute->inputs[0]).dims, &part = value(slice->outputs[0]).dims, &found = value(input).dims;
    const Dim &start = slice->dims("start")[0], &end = slice->dims("end")[0];
    if (all[2] != Dim(3) || slice->integer("axis") != 0 || !start.is_constant() || !end.is_constant()) return none;
    if (slice->integer("step") != 1 || start.value() < 0 || start.value() > 2) return none;
    if (end.value() != start.value() + 1 && (start.value() < 2 || end.value() < 3)) return none;
    if (found != Dims(part.begin() + 1, part.end())) return none;
    return {permute->inputs[0], static_cast<HeadForm>(static_cast<int64_t>(HeadForm::part_0) + start.value())};
  }

  // Nobody reads a value any more for `keeper`; what then makes nothing goes away.
  void release(int value, size_t keeper) {
    const int from = maker(value);
    if (--uses(value) > 0 || from < 0) return;
    const auto index = static_cast<size_t>(from);
    gone_[index] = true;
    remember(keeper, index);
    for (const int input : node(index).inputs)
      if (input >= 0) release(input, keeper);
  }

  void set_form(Node& attention, size_t operand, HeadForm form) {
    auto& forms = attention.attributes.try_emplace(kHeadForms, Dims{0, 0, 0, 0}).first->second;
    std::get<Dims>(forms)[operand] = Dim(static_cast<int64_t>(form));
  }

  void fuse_heads(size_t index) {
    for (size_t i = 0; i < 3; ++i) {
      const int input = node(index).inputs[i];
      const auto [source, form] = heads_behind(input);
      if (form == HeadForm::heads_first) continue;
      set_form(node(index), i, form);
      node(index).inputs[i] = source;
      ++uses(source);
      release(input, index);
    }
  }

  // A permutation that brings tokens in front again, of what an attention makes or of what is quantized of it.
  void fuse_tokens(size_t index) {
    if (!swaps_heads(node(index))) return;
    int input = node(index).inputs[0], from = maker(input);
    if (from < 0 || uses(input) != 1) return;
    const auto last = static_cast<size_t>(from);
    if (node(last).op == Op::quantize) {
      input = node(last).inputs[0], from = maker(input);
      if (from < 0 || uses(input) != 1) return;
    }
    Node& attention = node(static_cast<size_t>(from));
    if (attention.op != Op::attention || head_forms(attention)[3] != HeadForm::heads_first) return;
    set_form(attention, 3, HeadForm::tokens_first);
    const Dims dims = value(node(index).outputs[0]).dims;
    absorb(last, index);
    if (last != static_cast<size_t>(from)) graph_.values_[static_cast<size_t>(input)].dims = dims;
  }

  FusedGraph collect() {
    FusedGraph result;
    std::vector<Node> left;
    for (size_t i = 0; i < graph_.nodes_.size(); ++i) {
      for (const int output : node(i).outputs)
        if (Value& made = graph_.values_[static_cast<size_t>(output)]; !gone_[i]) made.node = static_cast<int>(left.size());
        else if (made.node == static_cast<int>(i)) made.node = -2;
      if (gone_[i]) continue;
      left.push_back(std::move(node(i)));
      result.fused.push_back(std::move(fused_[i]));
    }
    graph_.nodes_ = std::move(left);
    result.graph = std::move(graph_);
    return result;
  }

  Graph graph_;
  std::vector<std::vector<std::string>> fused_;
  std::vector<bool> gone_;
  std::vector<bool> bounded_;  // a ReLU after it is the lower end of its range (zero point 0)
  std::vector<int> stands_for_, uses_;
  std::vector<bool> output_;
};

FusedGraph fuse(Graph graph) { return Fuser(std::move(graph)).run(); }

}  // namespace niwaki
