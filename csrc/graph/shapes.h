// Shapes of a graph's values for given shapes of its inputs.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

// [images, channels, height, width]; rank 2 has height = width = 1.
struct Shape {
  int rank = 4;
  int64_t images = 0, channels = 0, height = 1, width = 1;

  int64_t pixels() const { return images * height * width; }
  int64_t elements() const { return pixels() * channels; }
  bool operator==(const Shape&) const = default;
  std::vector<int64_t> sizes() const;  // as a caller writes it: 4 or 2 numbers
};

// One shape for each value of the graph. `inputs`: the sizes of each input in order, as a caller writes them. Throws
// Error (invalid_argument), naming the input or the layer, for sizes that the network cannot take. The batch may be 0.
std::vector<Shape> infer_shapes(const Graph& graph, std::span<const std::vector<int64_t>> inputs);

// The output of one node.
Shape infer_shape(const Node& node, std::span<const Shape> inputs);

// First element and count along the axis of a slice, for an axis of `size` elements, with Python's rules for start, end and step.
struct SliceRange {
  int64_t start, count;
};
SliceRange slice_range(const Node& slice, int64_t size);

// Multiply-accumulates of a convolution or linear layer, zeros counted in; 0 for any other operator.
int64_t count_macs(const Node& node, const Shape& output);

}  // namespace niwaki
