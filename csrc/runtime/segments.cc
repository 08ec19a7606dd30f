#include "runtime/segments.h"

#include <algorithm>
#include <cmath>
#include <limits>

#if defined(__linux__)
#include <unistd.h>
#endif

#include "base/memory.h"
#include "runtime/layout.h"
#include "runtime/sized.h"

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

// What a value has of one image; nothing where it is the same for all of them.
struct Image {
  int64_t pixels = 0;  // what vectors are filled with: pixels, tokens
  double bytes = 0.0;
};

bool is_grouped(const Model& model, int value) { return model.axes()[static_cast<std::size_t>(value)] >= 0; }

Image image_of(const Batch& batch, int value) {
  const auto v = static_cast<std::size_t>(value);
  const Sizes& shape = batch.inferred.shapes[v];
  const int64_t images = std::max<int64_t>(1, batch.images);
  if (is_grouped(batch.model, value)) {
    const Planes planes = planes_of(shape, batch.model.axes()[v]);
    const int64_t pixels = planes.pixels() / images;
    return {pixels, static_cast<double>(int64_t{planes.groups()} * 4 * pixels)};
  }
  if (!batch.batched[v]) return {};
  const int64_t elements = elements_of(shape) / images;
  const Value& known = batch.model.graph().value(value);
  // A step in time of a recurrent layer has one row of each image.
  const bool in_time = known.node >= 0 && batch.model.graph().nodes()[static_cast<std::size_t>(known.node)].op == Op::recurrent;
  const int64_t channels = std::max<int64_t>(1, shape.back());
  return {in_time ? 1 : elements / channels, static_cast<double>(elements * dtype_bytes(known.dtype))};
}

struct Lifetime {
  int first = -1, last = -1;  // steps that make it and that need it last
};

std::vector<Lifetime> lifetimes(const Model& model) {
  std::vector<Lifetime> lives(model.graph().values().size());
  const auto& nodes = model.graph().nodes();
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    for (const int output : nodes[k].outputs)
      lives[static_cast<std::size_t>(output)] = {static_cast<int>(k), static_cast<int>(k)};
    for (const int input : nodes[k].inputs)
      if (input >= 0) lives[static_cast<std::size_t>(input)].last = static_cast<int>(k);
  }
  return lives;
}

// Whether a step's output may lie inside its input or its inputs inside its output.
bool shares_memory(const Batch& batch, std::size_t step) {
  const SizedStep sized = size_step(batch.model, step, batch.inferred);
  const StepSizes sizes{sized.in, sized.out, *sized.attributes, 1};
  return batch.model.steps()[step]->view(sizes).has_value() || !batch.model.steps()[step]->places(sizes).empty();
}

// Of all values. What lies inside of another takes no bytes.
std::vector<Image> images_of(const Batch& batch) {
  std::vector<Image> images;
  for (std::size_t v = 0; v < batch.inferred.shapes.size(); ++v) images.push_back(image_of(batch, static_cast<int>(v)));
  const auto& nodes = batch.model.graph().nodes();
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    const SizedStep sized = size_step(batch.model, k, batch.inferred);
    if (!batch.model.steps()[k]->view({sized.in, sized.out, *sized.attributes, 1})) continue;
    images[static_cast<std::size_t>(nodes[k].outputs[0])].bytes = 0.0;
  }
  return images;
}

// Nanoseconds for one image in each step, when `images` go through it together.
std::vector<double> step_costs(const Batch& batch, const std::vector<Image>& sizes, const std::vector<Lifetime>& lives,
                               int threads, int64_t images) {
  const auto& nodes = batch.model.graph().nodes();
  std::vector<double> live(nodes.size(), 0.0);
  for (std::size_t v = 0; v < lives.size(); ++v) {
    if (lives[v].first < 0 || sizes[v].bytes == 0.0) continue;
    for (int k = lives[v].first; k <= lives[v].last; ++k) live[static_cast<std::size_t>(k)] += sizes[v].bytes;
  }
  const double cache = threads * cache_bytes(), count = static_cast<double>(images);
  std::vector<double> costs;
  for (std::size_t k = 0; k < nodes.size(); ++k) {
    const Step& step = *batch.model.steps()[k];
    double moved = 0.0;
    for (const int value : nodes[k].inputs)
      if (value >= 0) moved += sizes[static_cast<std::size_t>(value)].bytes;
    for (const int value : nodes[k].outputs) moved += sizes[static_cast<std::size_t>(value)].bytes;
    const double missed = std::max(0.0, 1.0 - cache / std::max(1.0, count * live[k]));
    const double weights = static_cast<double>(step.info.bytes) / count;
    const double pixels =
        count * static_cast<double>(std::max<int64_t>(1, sizes[static_cast<std::size_t>(nodes[k].outputs[0])].pixels));
    const double multiplied = static_cast<double>(batch.macs[k]) / static_cast<double>(batch.images) * (1.0 - step.info.zeros) *
                              std::ceil(pixels / 16.0) * 16.0 / pixels;
    costs.push_back(moved * missed / (kBytes * threads) + weights / kBytes + multiplied / (kMacs * threads) + kStep / count);
  }
  return costs;
}

}  // namespace

std::vector<Cut> possible_cuts(const Batch& batch) {
  const Model& model = batch.model;
  const auto& nodes = model.graph().nodes();
  const std::vector<Lifetime> lives = lifetimes(model);
  std::vector<bool> shares(nodes.size());
  for (std::size_t k = 0; k < nodes.size(); ++k) shares[k] = shares_memory(batch, k);
  std::vector<Cut> cuts;
  for (std::size_t step = 1; step < nodes.size(); ++step) {
    int passing = -1, count = 0;
    for (std::size_t v = 0; v < lives.size(); ++v) {
      const auto at = static_cast<int>(step);
      if (lives[v].first < 0 || lives[v].first >= at || lives[v].last < at) continue;  // inputs are there for all segments
      if (model.constant(static_cast<int>(v)) != nullptr || batch.kept[v]) continue;   // as these are
      passing = static_cast<int>(v);
      ++count;
    }
    if (count != 1 || !batch.batched[static_cast<std::size_t>(passing)]) continue;
    bool clean = !shares[static_cast<std::size_t>(lives[static_cast<std::size_t>(passing)].first)];
    for (std::size_t k = 0; k < nodes.size() && clean; ++k)
      for (const int input : nodes[k].inputs) clean = clean && !(input == passing && shares[k]);
    if (clean) cuts.push_back({step, passing});
  }
  return cuts;
}

bool can_be_made_in_parts(const Batch& batch, int value, int64_t images) {
  return images >= batch.images || !is_grouped(batch.model, value) || images * image_of(batch, value).pixels % 16 == 0;
}

std::vector<Segment> choose_segments(const Batch& batch, int threads) {
  const std::size_t steps = batch.model.steps().size();
  const int64_t all = batch.images;
  if (all < 2) return {{0, steps, all}};
  const std::vector<Cut> cuts = possible_cuts(batch);
  const std::vector<Image> sizes = images_of(batch);
  const std::vector<Lifetime> lives = lifetimes(batch.model);

  std::vector<int64_t> choices = {all};
  for (int64_t images = 1; images < all; images *= 2) choices.push_back(images);
  std::vector<std::vector<double>> before;  // [choice][step]: what all steps before it cost
  for (const int64_t images : choices) {
    before.emplace_back(1, 0.0);
    for (const double cost : step_costs(batch, sizes, lives, threads, images))
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
    const Image* value = to <= cuts.size() ? &sizes[static_cast<std::size_t>(cuts[to - 1].value)] : nullptr;
    // What passes a cut waits there for all the images, in the cache or out of it.
    const double total = value ? value->bytes * static_cast<double>(all) : 0.0;
    const double wait = value && total > 0.5 * threads * cache_bytes() ? 2.0 * value->bytes / (kBytes * threads) : 0.0;
    for (std::size_t choice = 0; choice < choices.size(); ++choice) {
      if (value && !can_be_made_in_parts(batch, cuts[to - 1].value, choices[choice])) continue;
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
