// Which values of a network share memory: a view lies in what it is a view of, parts of a concatenation are written where they end up, an
// operator may write over its input, and what leaves the network is written where the caller wants it.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "runtime/model.h"
#include "runtime/sized.h"

namespace niwaki {

// Where a value is.
struct Place {
  enum class Where : uint8_t { nowhere, arena, input, output, constant, kept, state, next_state };
  Where where = Where::nowhere;
  int index = 0;            // which input, output or state; of a constant and of what is kept: the value
  int64_t offset = 0;       // bytes from there
  int64_t image_bytes = 0;  // from one image to the next, where all images of a pass lie there
};

class Placement {
 public:
  // steps: of all nodes. whole: of each value, whether it passes from one segment to another and so has a place of its own. kept: of each
  // value, whether it is made once, when the plan is, and stays.
  Placement(const Model& model, std::span<const SizedStep> steps, const std::vector<bool>& whole, const std::vector<bool>& kept,
            int threads);

  bool skipped(size_t step) const { return skipped_[step]; }  // nothing to run

  // The value in whose block `value` lies, and how many bytes from its beginning.
  std::pair<int, int64_t> find(int value) const;

  // Steps during which the block of a value that find gives is needed.
  int first(int value) const { return at(value).first; }
  int last(int value) const { return at(value).last; }

  // Of such a value: outside of the arena, or `nowhere`.
  const Place& outside(int value) const { return at(value).outside; }

 private:
  struct Entry {
    int host = -1;
    int64_t offset = 0;  // bytes from the beginning of the host
    int first = 0, last = -1;
    Place outside;
    bool leaves = false;  // an output of the graph or what a state becomes
  };
  Entry& at(int value) { return values_[static_cast<size_t>(value)]; }
  const Entry& at(int value) const { return values_[static_cast<size_t>(value)]; }
  const Node& node(size_t step) const { return model_.graph().nodes()[step]; }
  bool made(int value) const { return model_.graph().value(value).node >= 0; }
  // Whether the step may decide where its output lies: a block of its own, which nobody else has a claim on.
  bool free(int value) const { return at(value).host == value && at(value).outside.where == Place::Where::nowhere; }

  void set_lifetimes();
  void place_outside(const std::vector<bool>& kept);
  void attach(int value, int host, int64_t offset);
  void place_view(size_t step);
  void place_leaving();
  void place_parts(size_t step);
  void place_over_input(size_t step);

  const Model& model_;
  std::span<const SizedStep> steps_;
  const std::vector<bool>& whole_;
  int threads_;
  std::vector<Entry> values_;
  std::vector<bool> skipped_;
};

}  // namespace niwaki
