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
// kernel, and of one with other scales its packed weights; a constant that is the same tensor (see share_tensors). Any thread may ask. Nothing
// needs it any more once the models are made.
class SharedWeights {
 public:
  // The step that was made before of a node that is alike; makes it otherwise. `fused`: names of the nodes that it took over.
  std::shared_ptr<Step> step(const StepMaker& maker, std::vector<std::string> fused);
  std::shared_ptr<const Constant> constant(const Tensor& tensor);

 private:
  std::string key_of(const Tensor& tensor);
  std::string key_of(const StepMaker& maker, const std::vector<std::string>& fused);
  std::shared_ptr<void> find(const std::string& key);  // null where there is none
  // What stands under the key from now on: `made`, or what another thread was faster with.
  std::shared_ptr<void> keep(const std::string& key, std::shared_ptr<void> made);

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<void>> made_;  // steps and constants, by all that they are made of
  std::vector<Tensor> tensors_;                        // whose addresses stand in keys, and must not become others'
};

}  // namespace niwaki
