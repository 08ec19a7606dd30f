#include "fuzz/cost.h"

#include <algorithm>
#include <vector>

#include "graph/shapes.h"

namespace niwaki::fuzz {
namespace {

constexpr double kMostValues = 1 << 21;  // elements of all values of a run
constexpr double kMostWork = 1'500'000;  // products, comparisons and copies of a run
constexpr double kMostRows = 1 << 16;    // of all tables

// A uint8 value is held in groups of four channels, and in rows that begin on a cache line.
double elements(const Sizes& shape) {
  double count = 1;
  for (const int64_t size : shape) count *= static_cast<double>(size);
  return 4 * count + 64;
}

// What a pool looks at for each of its results: its kernel, but no more than the image, or a part of the image.
double window(const Node& node, const Sizes& in, const Sizes& out) {
  double count = 1;
  if (node.has("kernel")) {
    const auto kernel = node.integers("kernel");
    for (size_t i = 0; i < kernel.size() && i + 2 < in.size(); ++i) count *= static_cast<double>(std::min(kernel[i], in[i + 2]));
  } else if (node.op == Op::adaptive_avg_pool2d || node.op == Op::adaptive_pool) {
    for (size_t i = 2; i < in.size(); ++i)
      count *= static_cast<double>(in[i]) / static_cast<double>(std::max<int64_t>(out[i], 1)) + 2;
  }
  return count;
}

// Of a pool of floats each comparison is a branch, whose two sides libFuzzer notes: that takes it longer than a product.
double compared(const Node& node) { return node.op == Op::pool || node.op == Op::adaptive_pool ? 4 : 1; }

double work_of(const Node& node, std::span<const Sizes> in, std::span<const Sizes> out) {
  double work = 2 * static_cast<double>(count_macs(node, in, out));
  // Their functions take longer than their products, and units and depths are rounded up to sixteen.
  if (node.op == Op::recurrent || node.op == Op::attention) work *= 16;
  for (const Sizes& shape : in) work += elements(shape);
  for (const Sizes& shape : out) work += elements(shape) * (in.empty() ? 1 : window(node, in[0], shape)) * compared(node);
  for (const auto& [name, tensor] : node.tensors) work += static_cast<double>(tensor.elements());
  // Rows of the image are copied for taps that read it at another phase of the stride: a vector and more for each, however small the image.
  if (node.op == Op::pool && in[0].back() > 0)
    work += 32 * elements(in[0]) / static_cast<double>(in[0].back()) * static_cast<double>(node.integers("kernel").back());
  return work;
}

}  // namespace

bool plannable(const Graph& graph, std::span<const Sizes> inputs) {
  const Inferred inferred = infer_shapes(graph, inputs);
  double rows = 0;
  for (const Node& node : graph.nodes()) {
    const Sizes& out = inferred.shapes[static_cast<size_t>(node.outputs[0])];
    if (node.op == Op::interpolate || node.op == Op::resize) {
      for (size_t i = 2; i < out.size(); ++i) rows += static_cast<double>(out[i]);
    } else if (node.op == Op::matmul || node.op == Op::attention) {
      rows += elements({out.begin(), out.end() - std::min<std::ptrdiff_t>(2, std::ssize(out))});
    }
  }
  return rows <= kMostRows;
}

bool affordable(const Graph& graph, std::span<const Sizes> inputs) {
  const Inferred inferred = infer_shapes(graph, inputs);
  double values = 0, work = 0;
  for (const Sizes& shape : inferred.shapes) values += elements(shape);
  for (const Node& node : graph.nodes()) {
    std::vector<Sizes> in, out;
    for (const int value : node.inputs) in.push_back(value < 0 ? Sizes{} : inferred.shapes[static_cast<size_t>(value)]);
    for (const int value : node.outputs) out.push_back(inferred.shapes[static_cast<size_t>(value)]);
    work += work_of(node, in, out);
  }
  return values <= kMostValues && work <= kMostWork;
}

}  // namespace niwaki::fuzz
