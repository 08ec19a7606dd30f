// One operator of a compiled network: its constants, packed, and how to run it. Immutable; sessions and threads share it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "graph/graph.h"
#include "kernels/conv/conv.h"
#include "kernels/layout.h"

namespace niwaki {

// What a plan says about a step.
struct StepInfo {
  std::string name, op;
  std::vector<std::string> fused;  // names of the nodes that it took over
  std::string scheme = "int8";     // or "sparse int8"
  std::string kernel;
  double zeros = 0.0;  // share of its weights, 0 to 1
  int64_t bytes = 0;   // packed weights and constants
  std::string reason;  // why this kernel
};

struct StepCall {
  std::span<const Planes> in;
  Planes out;
  const float* in_float;  // instead of in[0], where that is f32
  float* out_float;       // instead of out, where that is f32
  uint8_t* scratch;       // threads * scratch_bytes, 64-byte aligned
  ThreadPool& pool;
};

class Step {
 public:
  virtual ~Step() = default;
  virtual void run(const StepCall& call) const = 0;

  // Bytes of scratch for each thread at these shapes (data is not read).
  virtual int64_t scratch_bytes(std::span<const Planes>, const Planes&) const { return 0; }

  // True where the output may take the memory of this input, if they have the same shape and no other input lies there.
  virtual bool may_overwrite(size_t) const { return false; }

  // Where the output is just the first input seen from some group of channels on: the number of that group. It is then not run.
  virtual std::optional<int64_t> view(std::span<const Planes>, const Planes&) const { return std::nullopt; }

  // True where inputs that already lie in their place of the output need no work (a concatenation).
  virtual bool gathers() const { return false; }

  StepInfo info;
};

// The step for a node of a fused graph. Every family of operators has its own file in steps/.
// `expected_pixels`: of one image of its output, 0 where unknown; see ConvParams.
std::unique_ptr<Step> make_step(const Graph& graph, const Node& node, Isa isa, ConvKind kind, int64_t expected_pixels);

}  // namespace niwaki
