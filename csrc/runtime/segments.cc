#include "runtime/segments.h"

#include <algorithm>
#include <cmath>
#include <limits>

#if defined(__linux__)
#include <unistd.h>
#endif

#include "base/memory.h"
#include "runtime/plan.h"

namespace niwaki {
namespace {

// Rates of one core, per nanosecond: bytes from beyond its own caches, multiply-accumulates. Only their proportions matter. And what it
// costs to hand a step to the threads, and to cut: next to nothing, but not for nothing.
constexpr double kBytes = 25.0, kMacs = 250.0, kStep = 1500.0, kCut = 100.0;

// What one core's cache holds of activations; the rest is for weights.
double cache_bytes() {
  long bytes = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
  bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
  return 0.75 * static_cast<double>(bytes > 0 ? bytes : 1 << 20);
}

bool is_u8(const Model& model, int value) { return model.graph().value(value).quantization.has_value(); }

double bytes_per_image(const Shape& shape) {
  return static_cast<double>(div_up(shape.channels, 4) * 4 * shape.height * shape.width);
}

struct Lifetime {
  int first = -1, last = -1;  // steps that make it and that need it last
};

std::vector<Lifetime> lifetimes(const Model& model) {
  std::vector<Lifetime> lives(model.graph().values().size());
  const auto& nodes = model.graph().nodes();
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    lives[static_cast<std::size_t>(nodes[k].output)] = {static_cast<int>(k), static_cast<int>(k)};
    for (const int input : nodes[k].inputs) lives[static_cast<std::size_t>(input)].last = static_cast<int>(k);
  }
  return lives;
}

// Whether a step's output may lie inside its input or its inputs inside its output.
bool shares_memory(const Model& model, const std::vector<Shape>& shapes, std::size_t step) {
  const Node& node = model.graph().nodes()[step];
  if (model.steps()[step]->gathers()) return true;
  if (!is_u8(model, node.output) || !is_u8(model, node.inputs[0])) return false;
  std::vector<Planes> in;
  for (const int input : node.inputs) in.push_back(planes_of(shapes[static_cast<std::size_t>(input)]));
  return model.steps()[step]->view(in, planes_of(shapes[static_cast<std::size_t>(node.output)])).has_value();
}

// Nanoseconds for one image in each step, when `images` go through it together.
std::vector<double> step_costs(const Model& model, const std::vector<Shape>& shapes, const std::vector<int64_t>& macs,
                               int threads, int64_t images) {
  const auto& nodes = model.graph().nodes();
  const std::vector<Lifetime> lives = lifetimes(model);
  std::vector<double> live(nodes.size(), 0.0);
  for (std::size_t v = 0; v < lives.size(); ++v) {
    if (lives[v].first < 0 || !is_u8(model, static_cast<int>(v))) continue;
    for (int k = lives[v].first; k <= lives[v].last; ++k) live[static_cast<std::size_t>(k)] += bytes_per_image(shapes[v]);
  }
  const double cache = threads * cache_bytes(), count = static_cast<double>(images);
  std::vector<double> costs;
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    const Shape& out = shapes[static_cast<std::size_t>(nodes[k].output)];
    double moved = is_u8(model, nodes[k].output) ? bytes_per_image(out) : 0.0;
    for (const int input : nodes[k].inputs)
      if (is_u8(model, input)) moved += bytes_per_image(shapes[static_cast<std::size_t>(input)]);
    const double missed = std::max(0.0, 1.0 - cache / std::max(1.0, count * live[k]));
    const double weights = static_cast<double>(model.steps()[k]->info.bytes) / count;
    const double pixels = count * static_cast<double>(out.height * out.width);
    const double kept = 1.0 - model.steps()[k]->info.zeros;
    const double multiplied = static_cast<double>(macs[k]) / static_cast<double>(std::max<int64_t>(1, out.images)) * kept *
                              std::ceil(pixels / 16.0) * 16.0 / std::max(1.0, pixels);
    costs.push_back(moved * missed / (kBytes * threads) + weights / kBytes + multiplied / (kMacs * threads) + kStep / count);
  }
  return costs;
}

}  // namespace

std::vector<Cut> possible_cuts(const Model& model, const std::vector<Shape>& shapes) {
  const auto& nodes = model.graph().nodes();
  const std::vector<Lifetime> lives = lifetimes(model);
  std::vector<bool> shares(nodes.size());
  for (std::size_t k = 0; k < nodes.size(); ++k) shares[k] = shares_memory(model, shapes, k);
  std::vector<Cut> cuts;
  for (std::size_t step = 1; step < nodes.size(); ++step) {
    int passing = -1, count = 0;
    for (std::size_t v = 0; v < lives.size(); ++v) {
      const auto at = static_cast<int>(step);
      if (!is_u8(model, static_cast<int>(v)) || lives[v].first < 0 || lives[v].first >= at || lives[v].last < at) continue;
      passing = static_cast<int>(v);
      ++count;
    }
    if (count != 1) continue;
    bool clean = !shares[static_cast<std::size_t>(lives[static_cast<std::size_t>(passing)].first)];
    for (std::size_t k = 0; k < nodes.size() && clean; ++k)
      for (const int input : nodes[k].inputs) clean = clean && !(input == passing && shares[k]);
    if (clean) cuts.push_back({step, passing});
  }
  return cuts;
}

bool can_be_made_in_parts(const Shape& value, int64_t images) {
  return images >= value.images || images * value.height * value.width % 16 == 0;
}

std::vector<Segment> choose_segments(const Model& model, const std::vector<Shape>& shapes, const std::vector<int64_t>& macs,
                                     int threads) {
  const std::size_t steps = model.graph().nodes().size();
  const int64_t all = steps > 0 ? shapes[static_cast<std::size_t>(model.graph().nodes()[0].output)].images : 0;
  const std::vector<Segment> whole = {{0, steps, all}};
  const auto& nodes = model.graph().nodes();
  const bool together = std::all_of(
      nodes.begin(), nodes.end(), [&](const Node& node) { return shapes[static_cast<std::size_t>(node.output)].images == all; });
  if (all < 2 || !together) return whole;
  const std::vector<Cut> cuts = possible_cuts(model, shapes);

  std::vector<int64_t> choices = {all};
  for (int64_t images = 1; images < all; images *= 2) choices.push_back(images);
  std::vector<std::vector<double>> before;  // [choice][step]: what all steps before it cost
  for (const int64_t images : choices) {
    before.emplace_back(1, 0.0);
    for (const double cost : step_costs(model, shapes, macs, threads, images))
      before.back().push_back(before.back().back() + cost);
  }

  // Position i is the begin (0), a cut, or the end. best[i]: of all ways to run what lies before it.
  struct Way {
    double cost = std::numeric_limits<double>::infinity();
    std::size_t from = 0, choice = 0;
  };
  std::vector<Way> best(cuts.size() + 2);
  best[0].cost = 0.0;
  const auto step_at = [&](std::size_t i) { return i == 0 ? 0 : i <= cuts.size() ? cuts[i - 1].step : steps; };
  for (std::size_t to = 1; to < best.size(); ++to) {
    const Shape* value = to <= cuts.size() ? &shapes[static_cast<std::size_t>(cuts[to - 1].value)] : nullptr;
    // What passes a cut waits there for all the images, in the cache or out of it.
    const double total = value ? bytes_per_image(*value) * static_cast<double>(all) : 0.0;
    const double wait = value && total > 0.5 * threads * cache_bytes() ? 2.0 * bytes_per_image(*value) / (kBytes * threads) : 0.0;
    for (std::size_t choice = 0; choice < choices.size(); ++choice) {
      if (value && !can_be_made_in_parts(*value, choices[choice])) continue;
      for (std::size_t from = 0; from < to; ++from) {
        const double cost = best[from].cost + before[choice][step_at(to)] - before[choice][step_at(from)] + wait + kCut;
        if (cost < best[to].cost) best[to] = {cost, from, choice};
      }
    }
  }
  std::vector<Segment> segments;
  for (std::size_t to = best.size() - 1; to > 0; to = best[to].from)
    segments.push_back({step_at(best[to].from), step_at(to), choices[best[to].choice]});
  std::reverse(segments.begin(), segments.end());
  return segments;
}

}  // namespace niwaki
