#include "runtime/step.h"

#include "base/status.h"
#include "graph/operators.h"
#include "runtime/steps/steps.h"

namespace niwaki {

std::unique_ptr<Step> make_step(const Graph& graph, const Node& node, Isa isa, ConvKind kind, int64_t expected_pixels) {
  auto step = [&]() -> std::unique_ptr<Step> {
    switch (node.op) {
      case Op::quantize:
      case Op::dequantize: return make_end(graph, node, isa);
      case Op::conv2d:
        if (is_depthwise(node) && graph.value(node.output).quantization && node.inputs.size() == 1)
          return make_depthwise(graph, node, isa);
        return make_conv(graph, node, isa, kind, expected_pixels);
      case Op::linear: return make_conv(graph, node, isa, kind, expected_pixels);
      case Op::max_pool2d:
      case Op::avg_pool2d:
      case Op::adaptive_avg_pool2d: return make_pool(graph, node, isa);
      case Op::add:
      case Op::mul:
      case Op::clamp:
      case Op::table: return make_pointwise(graph, node, isa);
      case Op::concat:
      case Op::slice:
      case Op::pad:
      case Op::reshape:
      case Op::channel_shuffle:
      case Op::upsample_nearest2d: return make_copy(graph, node);
    }
    throw Error(Status::internal, describe(node) + ": no step for it.");
  }();
  step->info.name = node.name;
  step->info.op = op_name(node.op);
  return step;
}

}  // namespace niwaki
