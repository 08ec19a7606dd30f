#include "graph/fused_parts.h"

namespace niwaki {
namespace {

Quantization quantization_in(const Node& layer, const char* attribute) {
  const std::vector<double>& numbers = layer.numbers(attribute);
  return {static_cast<float>(numbers.at(0)), static_cast<int32_t>(numbers.at(1))};
}

}  // namespace

Quantization multiplied_quantization(const Graph& graph, const Node& layer) {
  return layer.has(kProduct) ? quantization_in(layer, kProduct) : *graph.value(layer.inputs[0]).quantization;
}

std::optional<Quantization> sums_quantization(const Graph& graph, const Node& layer) {
  return layer.has(kSums) ? quantization_in(layer, kSums) : graph.value(layer.outputs[0]).quantization;
}

}  // namespace niwaki
