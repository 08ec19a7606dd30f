#include "runtime/step.h"

#include <utility>

#include "base/status.h"
#include "graph/operators.h"
#include "runtime/steps/steps.h"

namespace niwaki {
namespace {

// Its value lies in the model (Model::constant): nothing to run.
class ConstantStep : public Step {
 public:
  explicit ConstantStep(const Tensor& tensor) {
    info.scheme = "constant";
    info.bytes = tensor.bytes();
  }
  void run(const StepCall&) const override {}
};

bool is_grouped(const StepMaker& maker, int value) { return maker.axes[static_cast<size_t>(value)] >= 0; }

std::unique_ptr<Step> make(const StepMaker& maker) {
  const Node& node = maker.node;
  switch (node.op) {
    case Op::quantize:
    case Op::dequantize: return make_end(maker);
    case Op::conv2d:
      if (is_depthwise(node) && is_grouped(maker, node.outputs[0]) && !has_residual(node)) return make_depthwise(maker);
      return make_conv(maker);
    case Op::linear: return make_conv(maker);
    case Op::max_pool2d:
    case Op::avg_pool2d:
    case Op::adaptive_avg_pool2d: return make_pool_u8(maker);
    case Op::add:
    case Op::extreme:
    case Op::prelu:
    case Op::mul:
    case Op::clamp:
    case Op::table: return make_pointwise(maker);
    case Op::concat:
    case Op::slice:
    case Op::pad:
    case Op::reshape:
    case Op::permute:
      if (is_grouped(maker, node.inputs[0]) || is_grouped(maker, node.outputs[0])) return make_copy(maker);
      return make_movement(maker);
    case Op::channel_shuffle:
    case Op::pixel_shuffle:
    case Op::upsample_nearest2d: return make_copy(maker);
    case Op::expand:
    case Op::flip:
    case Op::roll:
    case Op::tile:
    case Op::take:
    case Op::gather:
    case Op::scatter:
    case Op::unfold: return make_movement(maker);
    case Op::full:
    case Op::arange:
    case Op::linspace:
    case Op::size: return make_values(maker);
    case Op::unary:
    case Op::binary:
    case Op::where:
    case Op::cast:
    case Op::channel_affine: return make_elementwise(maker);
    case Op::reduce:
    case Op::arg_reduce:
    case Op::cumsum:
    case Op::cumprod:
    case Op::cumextreme:
    case Op::softmax:
    case Op::layer_norm:
    case Op::rms_norm:
    case Op::group_norm:
    case Op::topk:
    case Op::sort: return make_rows(maker);
    case Op::matmul:
    case Op::attention:
    case Op::dynamic_linear: return make_product(maker);
    case Op::recurrent: return make_recurrent(maker);
    case Op::sequence_lengths: return make_sequence_lengths(maker);
    case Op::convolution:
    case Op::pool:
    case Op::adaptive_pool:
    case Op::interpolate:
    case Op::resize:
    case Op::grid_sample: return make_windows(maker);
    case Op::constant: return std::make_unique<ConstantStep>(node.tensor("value"));
    default: break;
  }
  throw Error(Status::internal, describe(node) + ": no step for it.");
}

}  // namespace

std::unique_ptr<Step> make_step(const StepMaker& maker, std::vector<std::string> fused) {
  std::unique_ptr<Step> step = make(maker);
  step->info.name = maker.node.name;
  step->info.op = op_name(maker.node.op);
  step->info.fused = std::move(fused);
  return step;
}

}  // namespace niwaki
