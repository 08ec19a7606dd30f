// Moving elements: whole values in another shape or order.
#include <algorithm>

#include "graph/operators/rules.h"

namespace niwaki::rules {
namespace {

bool is_open(const Dim& dim) { return dim == Dim(-1); }

// At most one dim of the new shape is -1: what the others leave. Dims that stay as they are at the front and at the end do not count for it:
// so a batch of none keeps its shape, where torch asks what -1 is.
std::vector<Operand> infer_reshape(const Inference& node) {
  const Dims& in = node.input(0).dims;
  Dims out = node.dims("shape");
  const auto impossible = [&] {
    refuse(node.node, "cannot give the elements of " + text(node, in) + " the shape " + text(node, node.dims("shape")) + ".");
  };
  const auto open = std::find_if(out.begin(), out.end(), is_open);
  if (open == out.end()) {
    if (differ(count_of(in), count_of(out))) impossible();
    return one(node.input(0).dtype, std::move(out));
  }
  if (std::any_of(open + 1, out.end(), is_open)) refuse(node.node, "more than one dimension of its shape is -1.");
  size_t front = 0, end = 0;
  const size_t shorter = std::min(in.size(), out.size());
  while (front < shorter && in[front] == out[front]) ++front;
  while (front + end < shorter && in[in.size() - 1 - end] == out[out.size() - 1 - end]) ++end;
  *open = 1;
  const Dim total = count_of(std::span(in).subspan(front, in.size() - front - end));
  const Dim others = count_of(std::span<const Dim>(out).subspan(front, out.size() - front - end));
  const bool are_known = total.is_constant() && others.is_constant();
  if (are_known && (is_zero(others) || total.value() % others.value() != 0)) impossible();
  *open = total == others ? Dim(1) : is_zero(others) ? Dim::unknown() : floor_div(total, others);
  return one(node.input(0).dtype, std::move(out));
}

// The first dim of the shape is the number of images, or what is left for it; another one is right for one number of them alone.
bool names_images(const BatchInference& node) { return node.shape_follows || is_open(node.node.dims("shape")[0]); }

bool local_reshape(const BatchInference& node) {
  return always(node) && names_images(node) && node.out[0].dims[0] == node.input(0).dims[0];
}

bool local_expand(const BatchInference& node) { return names_images(node) && elementwise(node); }

std::vector<Operand> infer_permute(const Inference& node) {
  const Dims& in = node.input(0).dims;
  const auto axes = axes_of(node);
  if (axes.size() != in.size())
    refuse(node.node, "has " + text(static_cast<int64_t>(axes.size())) + " axes for an input of rank " +
                          text(static_cast<int64_t>(in.size())) + ".");
  Dims out;
  for (const size_t axis : axes) out.push_back(in[axis]);
  return one(node.input(0).dtype, std::move(out));
}

bool local_permute(const BatchInference& node) { return always(node) && node.node.dims("axes")[0] == Dim(0); }

std::vector<Operand> infer_expand(const Inference& node) {
  const Dims& in = node.input(0).dims;
  Dims out = node.dims("shape");
  const auto impossible = [&] {
    refuse(node.node, "cannot expand " + text(node, in) + " to " + text(node, node.dims("shape")) + ".");
  };
  if (out.size() < in.size()) impossible();
  const size_t added = out.size() - in.size();
  for (size_t i = 0; i < out.size(); ++i) {
    if (i < added) {
      if (is_open(out[i])) impossible();
    } else {
      const Dim& old = in[i - added];
      if (is_open(out[i])) out[i] = old;
      else if (old != Dim(1) && differ(old, out[i])) impossible();
    }
  }
  return one(node.input(0).dtype, std::move(out));
}

std::vector<Operand> infer_roll(const Inference& node) {
  if (node.dims("shifts").size() != axes_of(node).size()) refuse(node.node, "needs one shift for each axis.");
  return same_as_input(node);
}

std::vector<Operand> infer_flip(const Inference& node) {
  axes_of(node);
  return same_as_input(node);
}

bool local_axes(const BatchInference& node) {
  const Dims& axes = node.node.dims("axes");
  return always(node) && std::find(axes.begin(), axes.end(), Dim(0)) == axes.end();
}

std::vector<Operand> infer_tile(const Inference& node) {
  const Dims& in = node.input(0).dims;
  Dims out = node.dims("repeats");
  if (out.size() < in.size())
    refuse(node.node,
           "has " + text(static_cast<int64_t>(out.size())) + " repeats for an input of rank " + text(node.input(0).rank()) + ".");
  for (size_t i = 0; i < in.size(); ++i) {
    Dim& made = out[out.size() - in.size() + i];
    made = in[i] * made;
  }
  return one(node.input(0).dtype, std::move(out));
}

bool local_tile(const BatchInference& node) {
  const Dims& repeats = node.node.dims("repeats");
  return always(node) && static_cast<int>(repeats.size()) == node.input(0).rank() && repeats[0] == Dim(1);
}

std::vector<Operand> infer_channel_shuffle(const Inference& node) {
  const Dim& channels = node.input(0).dims[1];
  const int64_t groups = node.integer("groups");
  if (channels.is_constant() && channels.value() % groups != 0)
    refuse(node.node, "its " + text(node, channels) + " channels do not divide into " + text(groups) + " groups.");
  return same_as_input(node);
}

// Of a signal [N, C, L] the factor of rows is 1.
std::vector<Operand> infer_pixel_shuffle(const Inference& node) {
  const Dims &in = node.input(0).dims, &factors = node.dims("factors");
  const int64_t phases = factors[0].value() * factors[1].value();
  if (in.size() == 3 && factors[0] != Dim(1)) refuse(node.node, "needs an input of rank 4: one of rank 3 has no rows.");
  if (in[1].is_constant() && in[1].value() % phases != 0)
    refuse(node.node, "its " + text(node, in[1]) + " channels do not divide into " + text(phases) + " for each pixel.");
  Dims out = {in[0], floor_div(in[1], phases)};
  for (size_t axis = 2; axis < in.size(); ++axis) out.push_back(in[axis] * factors[axis + 2 - in.size()]);
  return one(DType::u8, std::move(out));
}

std::vector<Operand> infer_upsample_nearest2d(const Inference& node) {
  const Dims &in = node.input(0).dims, &scale = node.dims("scale");
  return one(DType::u8, {in[0], in[1], in[2] * scale[0], in[3] * scale[1]});
}

AttributeRule axes() { return integers("axes", kAnyCount, 0, kMaxRank - 1); }

}  // namespace

OperatorRule reshape() {
  return {.summary = "the elements in their order in another shape, of which one dim may be -1: what is left",
          .inputs = {{"data", kAny}},
          .keeps_scale = true,
          .attributes = {expressions("shape", kAnyCount, -1, kInt32)},
          .infer = infer_reshape,
          .batch_local = local_reshape};
}

OperatorRule permute() {
  return {.summary = "axis i of the output is axis axes[i] of the input",
          .inputs = {{"data", kAny}},
          .keeps_scale = true,
          .attributes = {axes()},
          .infer = infer_permute,
          .batch_local = local_permute};
}

OperatorRule expand() {
  return {.summary = "dims of 1 repeated to those of shape, where -1 keeps what is there; new axes may stand in front",
          .inputs = {{"data", kMovable}},
          .attributes = {expressions("shape", kAnyCount, -1, kInt32)},
          .infer = infer_expand,
          .batch_local = local_expand};
}

OperatorRule flip() {
  return {.summary = "the axes' elements from last to first",
          .inputs = {{"data", kAny}},
          .keeps_scale = true,
          .attributes = {axes()},
          .infer = infer_flip,
          .batch_local = local_axes};
}

OperatorRule roll() {
  return {.summary = "element i of axis axes[k] moves to i + shifts[k], around the end",
          .inputs = {{"data", kAny}},
          .keeps_scale = true,
          .attributes = {expressions("shifts", kAnyCount, -kInt32, kInt32), axes()},
          .infer = infer_roll,
          .batch_local = local_axes};
}

OperatorRule tile() {
  return {.summary = "the whole value repeats[i] times along axis i of the output, as torch's repeat",
          .inputs = {{"data", kAny}},
          .keeps_scale = true,
          .attributes = {expressions("repeats", kAnyCount, 0, kInt32)},
          .infer = infer_tile,
          .batch_local = local_tile};
}

OperatorRule channel_shuffle() {
  return {.summary = "channel g * (C / groups) + i becomes channel i * groups + g",
          .inputs = {{"data", kU8, 2}},
          .keeps_scale = true,
          .attributes = {integers("groups", 1, 1, kInt32, Dims{1})},
          .infer = infer_channel_shuffle,
          .batch_local = always};
}

OperatorRule pixel_shuffle() {
  return {.summary =
              "channel (c * factors[0] + i) * factors[1] + j becomes channel c of row i and column j of factors[0] x factors[1] "
              "pixels; "
              "reshape, permute and reshape of uint8 become it when a file is loaded",
          .inputs = {{"data", kU8, 3, 4}},
          .keeps_scale = true,
          .attributes = {integers("factors", 2, 1, kFar)},
          .infer = infer_pixel_shuffle,
          .batch_local = always};
}

OperatorRule upsample_nearest2d() {
  return {.summary = "each pixel scale[0] x scale[1] times",
          .inputs = {{"data", kU8, 4, 4}},
          .keeps_scale = true,
          .attributes = {integers("scale", 2, 1, kFar)},
          .infer = infer_upsample_nearest2d,
          .batch_local = always};
}

}  // namespace niwaki::rules
