// What the models of several entries have in common: packed layers and constants, once in memory.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/memory.h"
#include "graph/tensor.h"
#include "runtime/step.h"

namespace niwaki {

// The value of a constant, 64-byte aligned: the tensor as the graph has it, or, where that is not aligned, a copy.
struct Constant {
  const uint8_t* data = nullptr;
  Tensor tensor;
  Buffer copy;
};
std::shared_ptr<const Constant> make_constant(const Tensor& tensor);

// Models that are given the same one share what is alike to the last bit: a layer with the same name, tensors, attributes, scales, layout and
// kernel; a constant that is the same tensor (see share_tensors). Any thread may ask. Nothing needs it any more once the models are made.
class SharedWeights {
 public:
  // The step that was made before of a node that is alike; makes it otherwise. `fused`: names of the nodes that it took over.
  std::shared_ptr<Step> step(const StepMaker& maker, std::vector<std::string> fused);
  std::shared_ptr<const Constant> constant(const Tensor& tensor);

 private:
  struct Made;  // of which node a step was made

  std::mutex mutex_;
  std::multimap<std::string, std::shared_ptr<const Made>> steps_;  // by the node's name
  std::vector<std::pair<TensorIdentity, std::shared_ptr<const Constant>>> constants_;
};

}  // namespace niwaki
