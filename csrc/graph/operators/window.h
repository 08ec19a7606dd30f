// A window that slides along one axis, as convolutions and pools have it.
#pragma once

#include "graph/operators/rules.h"

namespace niwaki::rules {

struct Window {
  int64_t kernel, stride, dilation;
  Dim before, after;  // padding
  bool ceil = false;

  // How many places it has on an axis of `size` elements, as torch counts them: at least one, or it does not fit. `axis` is an index among the
  // `axes` that windows slide along.
  Dim count(const Inference& node, const Dim& size, size_t axis, size_t axes) const;

  // Refuses places that lie wholly in the padding: a pool needs an element in each.
  void must_touch(const Inference& node, const Dim& size, const Dim& count, size_t axis, size_t axes) const;
};

// Along spatial axis `axis` of a node with the attributes stride, and perhaps dilation and ceil_mode. Padding: of all axes before and then of
// all after (conv2d and its pools), or in pairs (the float32 operators).
enum class PaddingOrder : uint8_t { before_then_after, pairs };
Window window_along(const Inference& node, size_t axis, int64_t kernel, PaddingOrder order);

// What a window covers: dilation * (kernel - 1) + 1.
int64_t extent(const Window& window);

}  // namespace niwaki::rules
