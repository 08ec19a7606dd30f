#include "runtime/plan.h"

#include <algorithm>
#include <cassert>
#include <string>

#include "base/memory.h"
#include "base/status.h"
#include "graph/operators.h"
#include "runtime/blocks.h"
#include "runtime/layout.h"

namespace niwaki {
namespace {

// Results that are kept between runs; a network that would have more makes them in every run.
constexpr int64_t kMaxKept = int64_t{16} << 20;
constexpr int64_t kMaxBlock = int64_t{1} << 46;  // more than any machine has; keeps sums of sizes far from overflow

size_t at(int value) { return static_cast<size_t>(value); }

// Segments first, then the steps as large as their segments have them, where these lie, and what they set up.
class Planner {
 public:
  Planner(const Model& model, Plan& plan, int threads) : model_(model), plan_(plan), threads_(threads) {}

  void run(const ChooseSegments& choose) {
    const auto& nodes = model_.graph().nodes();
    const Inferred& all = plan_.shapes.of(plan_.images);
    for (const Node& node : nodes) plan_.macs.push_back(macs_of(node, all));
    find_kept(all);
    const Batch batch{model_, all, plan_.shapes.batched(), plan_.macs, kept_, plan_.images};
    const std::vector<Segment> segments =
        plan_.images > 1 ? choose(batch, threads_) : std::vector<Segment>{{0, nodes.size(), plan_.images}};
    find_whole(segments);
    for (const Segment& segment : segments) {
      for (size_t k = segment.begin; k < segment.end; ++k) steps_.push_back(size_for(k, std::min(segment.images, plan_.images)));
    }
    const Placement placement(model_, steps_, plan_.whole, kept_, threads_);
    for (size_t k = 0; k < nodes.size(); ++k) plan_.skipped.push_back(placement.skipped(k));
    for (size_t k = 0; k < nodes.size(); ++k)
      if (!plan_.skipped[k] && is_kept(k)) add_call(k, plan_.images, plan_.once);
    for (const Segment& segment : segments) set_up(segment);
    place(placement);
    copy_rest();
  }

 private:
  int64_t macs_of(const Node& node, const Inferred& inferred) const {
    std::vector<Sizes> in, out;
    for (const int value : node.inputs) in.push_back(value >= 0 ? inferred.shapes[at(value)] : Sizes());
    for (const int value : node.outputs) out.push_back(inferred.shapes[at(value)]);
    return count_macs(node, in, out);
  }

  // Values that follow from constants and sizes, as masks and positions do.
  void find_kept(const Inferred& all) {
    const std::vector<bool> follows = follows_inputs(model_.graph());
    kept_.assign(follows.size(), false);
    int64_t bytes = 0;
    for (const Node& node : model_.graph().nodes()) {
      if (node.op == Op::constant || follows[at(node.outputs[0])]) continue;
      for (const int output : node.outputs) {
        kept_[at(output)] = true;
        bytes += bytes_of(size_value(model_, output, all));
      }
    }
    if (bytes > kMaxKept) kept_.assign(kept_.size(), false);
  }

  bool is_kept(size_t k) const { return kept_[at(model_.graph().nodes()[k].outputs[0])]; }

  // Which values pass from one segment to another, and for how long they are needed: during all of both.
  void find_whole(const std::vector<Segment>& segments) {
    const auto& nodes = model_.graph().nodes();
    const size_t values = model_.graph().values().size();
    std::vector<const Segment*> made(values, nullptr), needed(values, nullptr);
    for (const Segment& segment : segments) {
      for (size_t k = segment.begin; k < segment.end; ++k) {
        for (const int output : nodes[k].outputs) made[at(output)] = &segment;
        for (const int input : nodes[k].inputs)
          if (input >= 0) needed[at(input)] = &segment;
      }
    }
    plan_.whole.assign(values, false);
    lives_.assign(values, {-1, -1});
    for (size_t v = 0; v < values; ++v) {
      if (made[v] == nullptr || needed[v] == nullptr || needed[v] == made[v] || kept_[v]) continue;
      if (model_.constant(static_cast<int>(v)) != nullptr) continue;
      plan_.whole[v] = true;
      lives_[v] = {static_cast<int>(made[v]->begin), static_cast<int>(needed[v]->end) - 1};
    }
  }

  // Made for all images: what passes between segments, and what is kept.
  bool holds_all(int value) const { return plan_.whole[at(value)] || kept_[at(value)]; }

  // A step for some images; values that hold all of them have their groups as far apart as these take.
  SizedStep size_for(size_t k, int64_t images) {
    SizedStep step = size_step(model_, k, plan_.shapes.of(images));
    const Node& node = model_.graph().nodes()[k];
    for (size_t i = 0; i < node.inputs.size(); ++i) set_stride(node.inputs[i], step.in[i]);
    for (size_t i = 0; i < node.outputs.size(); ++i) set_stride(node.outputs[i], step.out[i]);
    return step;
  }

  void set_stride(int value, Array& array) {
    if (!array.grouped()) return;
    if (holds_all(value)) {
      array.planes.group_stride =
          planes_of(plan_.shapes.of(plan_.images).shapes[at(value)], model_.axes()[at(value)]).group_stride;
    } else if (stride_.empty() || stride_[at(value)] == 0) {
      // The first to ask sizes it for as many images as its segment takes at a time.
      stride_.resize(model_.graph().values().size());
      stride_[at(value)] = array.planes.group_stride;
    } else {
      array.planes.group_stride = stride_[at(value)];
    }
  }

  void set_up(const Segment& segment) {
    PlannedSegment planned{segment, {}};
    planned.segment.images = std::min(segment.images, plan_.images);
    std::vector<int64_t> rounds = {planned.segment.images};
    if (plan_.images % planned.segment.images != 0) rounds.push_back(plan_.images % planned.segment.images);
    for (const int64_t images : rounds) {
      Round round{images, {}};
      for (size_t k = segment.begin; k < segment.end; ++k) {
        if (!plan_.skipped[k] && !is_kept(k)) add_call(k, images, round.calls);
      }
      planned.rounds.push_back(std::move(round));
    }
    plan_.segments.push_back(std::move(planned));
  }

  void add_call(size_t k, int64_t images, std::vector<Call>& calls) {
    Call call{k, size_for(k, images), nullptr};
    if (std::all_of(call.sized.out.begin(), call.sized.out.end(), [](const Array& out) { return out.elements() == 0; })) return;
    const StepSizes sizes{call.sized.in, call.sized.out, *call.sized.attributes, threads_};
    call.setup = model_.steps()[k]->setup(sizes);
    call.scratch_bytes = round_up(model_.steps()[k]->scratch_bytes(sizes), static_cast<int64_t>(kCacheLine));
    scratch_ = std::max(scratch_, call.scratch_bytes);
    if (call.setup) plan_.setup_bytes += call.setup->bytes();
    calls.push_back(std::move(call));
  }

  void place(const Placement& placement) {
    const int64_t scratch = scratch_ * threads_;
    std::vector<Place> roots(model_.graph().values().size());
    std::vector<Block> blocks;
    std::vector<int> owners;
    int64_t kept_bytes = 0;
    for (size_t v = 0; v < roots.size(); ++v) {
      const auto value = static_cast<int>(v);
      if (placement.find(value).first != value) continue;
      roots[v] = placement.outside(value);
      if (roots[v].where == Place::Where::kept) {
        roots[v].offset = kept_bytes;
        kept_bytes += block_of(value, placement).bytes;
      }
      if (roots[v].where != Place::Where::nowhere || model_.graph().value(value).node < 0) continue;
      blocks.push_back(block_of(value, placement));
      owners.push_back(value);
    }
    plan_.kept = Buffer(static_cast<size_t>(kept_bytes > 0 ? kept_bytes + kOverread : 0));
    plan_.setup_bytes += kept_bytes;
    plan_.arena_bytes = scratch + place_blocks(blocks);
    for (size_t i = 0; i < blocks.size(); ++i) {
      roots[at(owners[i])] = {Place::Where::arena, 0, scratch + blocks[i].offset};
      assert(roots[at(owners[i])].offset % static_cast<int64_t>(kCacheLine) == 0);
    }
    for (size_t v = 0; v < roots.size(); ++v) {
      const bool batched = roots[v].where == Place::Where::input || roots[v].where == Place::Where::output || plan_.whole[v];
      if (plan_.images > 1 && batched) roots[v].image_bytes = image_bytes(static_cast<int>(v));
    }
    for (size_t v = 0; v < roots.size(); ++v) {
      const auto [root, offset] = placement.find(static_cast<int>(v));
      plan_.places.push_back(roots[at(root)]);
      plan_.places.back().offset += offset;
    }
  }

  Block block_of(int value, const Placement& placement) {
    const auto v = at(value);
    const Node& node = model_.graph().nodes()[at(model_.graph().value(value).node)];
    const SizedStep& step = steps_[at(model_.graph().value(value).node)];
    Array array = step.out[at(model_.graph().value(value).index)];
    if (holds_all(value)) array = size_value(model_, value, plan_.shapes.of(plan_.images));
    const int64_t bytes = bytes_of(array);
    if (bytes > kMaxBlock)
      throw Error(Status::out_of_memory, describe(node) + ": its output needs " + std::to_string(bytes) + " bytes.");
    const int64_t lines = std::max<int64_t>(round_up(bytes, static_cast<int64_t>(kCacheLine)), kCacheLine);
    if (plan_.whole[v]) return {lines, lives_[v].first, lives_[v].second};
    return {lines, placement.first(value), placement.last(value)};
  }

  int64_t image_bytes(int value) {
    const Array array = size_value(model_, value, plan_.shapes.of(plan_.images));
    if (array.grouped()) return array.planes.pixels() / plan_.images * 4;
    return array.elements() / plan_.images * dtype_bytes(array.dtype);
  }

  // Outputs and states that are something else as well.
  void copy_rest() {
    const Graph& graph = model_.graph();
    const auto copy = [&](int value, Place::Where where, size_t index) {
      const Place& place = plan_.places[at(value)];
      if (place.where == where && place.index == static_cast<int>(index)) return;
      Place to{where, static_cast<int>(index)};
      const Array array = size_value(model_, value, plan_.shapes.of(plan_.images));
      plan_.copies.push_back({value, to, bytes_of(array)});
    };
    for (size_t i = 0; i < graph.outputs().size(); ++i) copy(graph.outputs()[i].value, Place::Where::output, i);
    for (size_t i = 0; i < graph.states().size(); ++i)
      if (graph.states()[i].next >= 0) copy(graph.states()[i].next, Place::Where::next_state, i);
  }

  const Model& model_;
  Plan& plan_;
  int threads_;
  std::vector<bool> kept_;
  std::vector<std::pair<int, int>> lives_;  // of values that pass between segments: steps during which they are needed
  std::vector<int64_t> stride_;             // of other grouped values
  std::vector<SizedStep> steps_;            // for as many images as their segments take at a time
  int64_t scratch_ = 0;
};

}  // namespace

Plan make_plan(const Model& model, Shapes shapes, int64_t images, int threads, const ChooseSegments& choose) {
  Plan plan(std::move(shapes), images);
  Planner(model, plan, threads).run(choose);
  return plan;
}

}  // namespace niwaki
