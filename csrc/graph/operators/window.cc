#include "graph/operators/window.h"

#include <algorithm>

namespace niwaki::rules {
namespace {

// "3 pixels high", "7 elements long"
std::string measure(int64_t size, size_t axis, size_t axes) {
  static constexpr const char* kWords[] = {" pixels deep", " pixels high", " pixels wide"};
  return text(size) + (axes == 1 ? " elements long" : axes > 3 ? " elements" : kWords[3 - axes + axis]);
}

}  // namespace

int64_t extent(const Window& window) { return window.dilation * (window.kernel - 1) + 1; }

Dim Window::count(const Inference& node, const Dim& size, size_t axis, size_t axes) const {
  const Dim room = size + before + after - extent(*this);
  Dim count = floor_div(room + (ceil ? stride - 1 : 0), stride) + 1;
  // With ceil a last window may begin beyond the input; torch drops it.
  if (ceil) count = min(count, floor_div(size + before + (stride - 1), stride));
  if (count.is_constant() && count.value() < 1)
    refuse(node.node,
           "an input " + measure(size.value(), axis, axes) + " is too small for its kernel of " + text(extent(*this)) + ".");
  return count;
}

void Window::must_touch(const Inference& node, const Dim& size, const Dim& count, size_t axis, size_t axes) const {
  if (!size.is_constant() || !count.is_constant() || !before.is_constant()) return;
  // Of the windows that begin in the input, the last one goes farthest.
  const int64_t places = count.value(), pad = before.value();
  for (int64_t i = 0; i < places; i = i * stride < pad ? i + 1 : std::max(i + 1, places - 1)) {
    const int64_t start = i * stride - pad;
    const int64_t skipped = start < 0 ? (-start + dilation - 1) / dilation : 0;  // taps before the input
    if (skipped >= kernel || start + skipped * dilation >= size.value())
      refuse(node.node, "a window lies wholly in the padding of an input " + measure(size.value(), axis, axes) + ".");
  }
}

Window window_along(const Inference& node, size_t axis, int64_t kernel, PaddingOrder order) {
  const auto one = [&](const char* name, int64_t otherwise) {
    return node.attributes.contains(name) ? node.dims(name)[axis].value() : otherwise;
  };
  const Dims& padding = node.dims("padding");
  const bool pairs = order == PaddingOrder::pairs;
  return {kernel,
          one("stride", 1),
          one("dilation", 1),
          padding[pairs ? 2 * axis : axis],
          padding[pairs ? 2 * axis + 1 : padding.size() / 2 + axis],
          node.attributes.contains("ceil_mode") && node.integer("ceil_mode") != 0};
}

}  // namespace niwaki::rules
