// One operator of a compiled network: its constants, packed, and how to run it. Immutable; sessions and threads share it.
//
// Two stages: setup() works out what follows from the sizes (offsets, tiles, tables), once for each set of sizes, and is kept with them;
// run() does the work.
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
  std::string scheme = "int8";     // "int8", "sparse int8", "float32", "constant", or "move" for what only moves elements
  std::string kernel;
  double zeros = 0.0;  // share of its weights, 0 to 1
  int64_t bytes = 0;   // packed weights and constants
  std::string reason;  // why this kernel
};

// A value as a step sees it: row-major in `data`, or, where it is grouped, in `planes`. Operators of the u8 family, concat, slice, pad,
// reshape and permute get u8 values that are grouped over one axis; everybody else gets all values row-major (runtime/layout.h).
//
// Row-major data is aligned to its element, no more: it may be the caller's. Exactly its bytes may be read and written. A step is not
// run where all its outputs are empty; its inputs may be.
struct Array {
  DType dtype = DType::f32;
  Sizes dims;            // as the graph has them
  void* data = nullptr;  // row-major; null where the value is grouped
  Planes planes{};       // of a value that is grouped, else all zero
  bool given = true;     // false for an optional input that is not there

  bool grouped() const { return planes.group_stride != 0; }

  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }
  int64_t elements() const {
    int64_t count = 1;
    for (int64_t size : dims) count *= size;
    return count;
  }
};

// What a step knows once the sizes are known; no data yet.
struct StepSizes {
  std::span<const Array> in, out;
  const Attributes& attributes;  // of the node, expressions replaced by their values
  int threads;
};

// What setup() keeps.
class StepSetup {
 public:
  virtual ~StepSetup() = default;
  virtual int64_t bytes() const { return 0; }  // of tables that grow with the sizes: sessions keep few of them
};

struct StepCall {
  std::span<const Array> in, out;
  const Attributes& attributes;
  const StepSetup* setup;  // what setup() returned, or null
  uint8_t* scratch;        // 64-byte aligned
  int64_t scratch_bytes;   // what scratch_bytes() returned, in whole cache lines: from one thread's part to the next
  ThreadPool& pool;

  uint8_t* scratch_of(int thread) const { return scratch + thread * scratch_bytes; }
};

class Step {
 public:
  virtual ~Step() = default;

  virtual std::unique_ptr<StepSetup> setup(const StepSizes&) const { return nullptr; }
  virtual void run(const StepCall& call) const = 0;

  // Bytes of scratch for each thread.
  virtual int64_t scratch_bytes(const StepSizes&) const { return 0; }

  // True where output 0 may take the memory of this input, if they have the same dtype and dims and no other input lies there.
  virtual bool may_overwrite(size_t) const { return false; }

  // Where output 0 is just input 0 seen from some byte on (of grouped values: in groups that lie as far apart): that offset. It is then not
  // run.
  virtual std::optional<int64_t> view(const StepSizes&) const { return std::nullopt; }

  // Where inputs that already lie in their place of the output need no work (a concatenation): the byte of output 0 where each begins;
  // empty where they cannot. run() has to do the others: an input that is there has the address of its place.
  virtual std::vector<int64_t> places(const StepSizes&) const { return {}; }

  // Has packed weights in common with a step that was made of the same ones for other scales, where they are packed alike. Before it is used.
  virtual void share_weights(Step&) {}

  // Of info.bytes, the memory that other steps may have in common with this one.
  virtual std::vector<std::span<const uint8_t>> shareable() const { return {}; }

  StepInfo info;
};

// What a step is made of. `graph` is fused and laid out (runtime/layout.h).
struct StepMaker {
  const Graph& graph;
  const Node& node;
  const std::vector<int>& axes;  // of each value, the one over which it is grouped; -1: row-major
  Isa isa;
  ConvKind kind;            // forces the kernels of convolutions
  int64_t expected_pixels;  // of one image (or of all tokens) of its output, 0 where unknown; see ConvParams
};

// The step for a node. Every family of operators has its own file in steps/, which registers nothing: steps/steps.h lists them.
// `fused`: names of the nodes that it took over.
std::unique_ptr<Step> make_step(const StepMaker& maker, std::vector<std::string> fused);

}  // namespace niwaki
