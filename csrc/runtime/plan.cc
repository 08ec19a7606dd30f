#include "runtime/plan.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/memory.h"
#include "base/status.h"

namespace niwaki {
namespace {

constexpr int64_t kMaxBlock = int64_t{1} << 46;  // more than any machine has; keeps sums of sizes far from overflow

// Decides which values share a block. A value lies in a block of its own or somewhere inside another value (its host).
class Placement {
 public:
  Placement(const Model& model, Plan& plan) : model_(model), plan_(plan), values_(plan.shapes.size()) {
    const auto& nodes = model.graph().nodes();
    for (size_t k = 0; k < nodes.size(); ++k) {
      at(nodes[k].output).first = at(nodes[k].output).last = static_cast<int>(k);
      for (int input : nodes[k].inputs) at(input).last = static_cast<int>(k);
    }
    for (size_t v = 0; v < values_.size(); ++v) values_[v].host = static_cast<int>(v);
  }

  void run() {
    const auto& nodes = model_.graph().nodes();
    for (size_t k = 0; k < nodes.size(); ++k) place_view(k);
    for (size_t k = nodes.size(); k-- > 0;)
      if (model_.steps()[k]->gathers() && !plan_.skipped[k]) place_parts(k);
    for (size_t k = 0; k < nodes.size(); ++k) place_over_input(k);
  }

  // The value whose block holds `value`, and how far inside.
  std::pair<int, int64_t> find(int value) const {
    int64_t offset = 0;
    while (at(value).host != value) {
      offset += at(value).offset;
      value = at(value).host;
    }
    return {value, offset};
  }

  int first(int value) const { return at(value).first; }
  int last(int value) const { return at(value).last; }
  bool is_u8(int value) const { return model_.graph().value(value).quantization.has_value(); }

 private:
  struct Entry {
    int host = -1;
    int64_t offset = 0;                                      // bytes from the beginning of the host
    int first = std::numeric_limits<int>::max(), last = -1;  // steps during which the block is needed; kept for hosts
  };
  Entry& at(int value) { return values_[static_cast<size_t>(value)]; }
  const Entry& at(int value) const { return values_[static_cast<size_t>(value)]; }
  const Planes& planes(int value) const { return plan_.planes[static_cast<size_t>(value)]; }

  std::vector<Planes> input_planes(const Node& node) const {
    std::vector<Planes> in;
    for (int input : node.inputs) in.push_back(planes(input));
    return in;
  }

  // Puts `value`, until now in a block of its own, into the block of `host`.
  void attach(int value, int host, int64_t offset) {
    const int root = find(host).first;
    at(value).host = host;
    at(value).offset = offset;
    at(root).first = std::min(at(root).first, at(value).first);
    at(root).last = std::max(at(root).last, at(value).last);
  }

  void place_view(size_t k) {
    const Node& node = model_.graph().nodes()[k];
    if (!is_u8(node.output) || !is_u8(node.inputs[0])) return;
    const auto group = model_.steps()[k]->view(input_planes(node), planes(node.output));
    if (!group) return;
    attach(node.output, node.inputs[0], *group * planes(node.inputs[0]).group_stride);
    plan_.skipped[k] = true;
  }

  void place_parts(size_t k) {
    const Node& node = model_.graph().nodes()[k];
    int64_t channels = 0;
    for (int input : node.inputs) {  // a part that begins inside a group cannot be written in place, nor can the rest then
      if (channels % 4 != 0) return;
      channels += planes(input).channels;
    }
    channels = 0;
    bool all = true;
    for (int input : node.inputs) {
      const bool own_block = at(input).host == input;  // not a view, not in another concatenation, not here already
      if (own_block) attach(input, node.output, channels / 4 * planes(node.output).group_stride);
      all = all && own_block;
      channels += planes(input).channels;
    }
    plan_.skipped[k] = all;
  }

  void place_over_input(size_t k) {
    const Node& node = model_.graph().nodes()[k];
    if (plan_.skipped[k] || !is_u8(node.output)) return;
    const int out = node.output;
    if (plan_.whole[static_cast<size_t>(out)]) return;
    if (at(out).host != out || at(out).first != static_cast<int>(k)) return;  // its block is needed earlier
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const int in = node.inputs[i];
      if (!model_.steps()[k]->may_overwrite(i) || at(in).host != in || at(in).last != static_cast<int>(k)) continue;
      if (plan_.whole[static_cast<size_t>(in)]) continue;
      if (plan_.shapes[static_cast<size_t>(in)] != plan_.shapes[static_cast<size_t>(out)]) continue;
      const bool alone = std::none_of(node.inputs.begin(), node.inputs.end(),
                                      [&](const int& other) { return &other != &node.inputs[i] && find(other).first == in; });
      if (!alone) continue;
      attach(out, in, 0);
      return;
    }
  }

  const Model& model_;
  Plan& plan_;
  std::vector<Entry> values_;
};

}  // namespace

Planes planes_of(const Shape& shape) {
  return {nullptr,
          group_stride_of(shape.pixels()),
          static_cast<int32_t>(shape.images),
          static_cast<int32_t>(shape.channels),
          static_cast<int32_t>(shape.height),
          static_cast<int32_t>(shape.width)};
}

int64_t place_blocks(std::span<Block> blocks) {
  std::vector<size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return blocks[a].bytes > blocks[b].bytes; });
  std::vector<const Block*> placed;  // by offset
  int64_t total = 0;
  for (size_t index : order) {
    Block& block = blocks[index];
    int64_t end = 0, best = -1, best_gap = std::numeric_limits<int64_t>::max();
    for (const Block* other : placed) {
      if (other->last < block.first || block.last < other->first) continue;
      const int64_t gap = other->offset - end;
      if (gap >= block.bytes && gap < best_gap) best = end, best_gap = gap;
      end = std::max(end, other->offset + other->bytes);
    }
    block.offset = best >= 0 ? best : end;
    total = std::max(total, block.offset + block.bytes);
    const auto where = std::upper_bound(placed.begin(), placed.end(), &block,
                                        [](const Block* a, const Block* b) { return a->offset < b->offset; });
    placed.insert(where, &block);
  }
  return total;
}

namespace {

// Sets the planes of all values, and the steps during which those that pass between segments are needed: all of both.
std::vector<std::pair<int, int>> plan_segments(const Model& model, Plan& plan) {
  const auto& nodes = model.graph().nodes();
  std::vector<const Segment*> segment_of(nodes.size());
  for (const Segment& segment : plan.segments)
    for (size_t k = segment.begin; k < segment.end; ++k) segment_of[k] = &segment;

  std::vector<const Segment*> made(plan.shapes.size(), nullptr), needed(plan.shapes.size(), nullptr);
  for (size_t k = 0; k < nodes.size(); ++k) {
    made[static_cast<size_t>(nodes[k].output)] = segment_of[k];
    for (int input : nodes[k].inputs) needed[static_cast<size_t>(input)] = segment_of[k];
  }
  std::vector<std::pair<int, int>> lives(plan.shapes.size(), {-1, -1});
  plan.whole.assign(plan.shapes.size(), false);
  for (size_t v = 0; v < plan.shapes.size(); ++v) {
    Shape shape = plan.shapes[v];
    if (made[v] != nullptr) {
      plan.whole[v] = needed[v] != nullptr && needed[v] != made[v];
      if (plan.whole[v]) lives[v] = {static_cast<int>(made[v]->begin), static_cast<int>(needed[v]->end) - 1};
      else shape.images = std::min(shape.images, made[v]->images);
    }
    plan.planes.push_back(planes_of(shape));
  }
  return lives;
}

}  // namespace

Plan make_plan(const Model& model, std::span<const std::vector<int64_t>> inputs, int threads, const ChooseSegments& choose) {
  const auto& nodes = model.graph().nodes();
  Plan plan;
  plan.shapes = infer_shapes(model.graph(), inputs);
  plan.offsets.assign(plan.shapes.size(), -1);
  plan.skipped.assign(nodes.size(), false);
  for (const Node& node : nodes) plan.macs.push_back(count_macs(node, plan.shapes[static_cast<size_t>(node.output)]));
  plan.segments = choose(model, plan.shapes, plan.macs, threads);
  const auto lives = plan_segments(model, plan);

  Placement placement(model, plan);
  placement.run();

  int64_t scratch = 0;
  for (size_t k = 0; k < nodes.size(); ++k) {
    if (plan.skipped[k]) continue;
    std::vector<Planes> in;
    for (int input : nodes[k].inputs) in.push_back(plan.planes[static_cast<size_t>(input)]);
    scratch = std::max(scratch, model.steps()[k]->scratch_bytes(in, plan.planes[static_cast<size_t>(nodes[k].output)]));
  }
  scratch = round_up(scratch, static_cast<int64_t>(kCacheLine)) * threads;

  std::vector<Block> blocks;
  std::vector<int> owners;
  for (const Node& node : nodes) {
    const int value = node.output;
    if (!placement.is_u8(value) || placement.find(value).first != value) continue;
    const Planes& planes = plan.planes[static_cast<size_t>(value)];
    const int64_t bytes = planes_bytes(planes.pixels(), planes.channels);
    if (bytes > kMaxBlock)
      throw Error(Status::out_of_memory, node.name + ": its output needs " + std::to_string(bytes) + " bytes.");
    const auto [first, last] = lives[static_cast<size_t>(value)];
    if (plan.whole[static_cast<size_t>(value)]) blocks.push_back({bytes, first, last});
    else blocks.push_back({bytes, placement.first(value), placement.last(value)});
    owners.push_back(value);
  }
  plan.arena_bytes = scratch + place_blocks(blocks);
  for (size_t i = 0; i < blocks.size(); ++i) plan.offsets[static_cast<size_t>(owners[i])] = scratch + blocks[i].offset;
  for (const Node& node : nodes) {
    if (!placement.is_u8(node.output)) continue;
    const auto [host, offset] = placement.find(node.output);
    plan.offsets[static_cast<size_t>(node.output)] = plan.offsets[static_cast<size_t>(host)] + offset;
  }
  return plan;
}

}  // namespace niwaki
