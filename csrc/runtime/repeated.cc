#include "runtime/repeated.h"

#include <utility>

namespace niwaki {
namespace {

class RepeatedStep : public Step {
 public:
  explicit RepeatedStep(std::shared_ptr<const Step> first) : first_(std::move(first)) {}

  std::unique_ptr<StepSetup> setup(const StepSizes& sizes) const override { return first_->setup(sizes); }
  void run(const StepCall& call) const override { first_->run(call); }
  int64_t scratch_bytes(const StepSizes& sizes) const override { return first_->scratch_bytes(sizes); }
  bool may_overwrite(size_t input) const override { return first_->may_overwrite(input); }

 private:
  std::shared_ptr<const Step> first_;
};

}  // namespace

std::unique_ptr<Step> make_repeated(const Node& node, std::vector<std::string> fused, std::shared_ptr<const Step> first) {
  StepInfo info = first->info;
  info.reason += (info.reason.empty() ? "" : "; ") + std::string("the weights of ") + info.name;
  info.name = node.name;
  info.fused = std::move(fused);
  info.bytes = 0;  // counted there
  auto step = std::make_unique<RepeatedStep>(std::move(first));
  step->info = std::move(info);
  return step;
}

}  // namespace niwaki
