#include "runtime/session.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "base/status.h"

namespace niwaki {
namespace {

std::vector<std::vector<int64_t>> sizes_of_outputs(const Graph& graph, const std::vector<Shape>& shapes) {
  std::vector<std::vector<int64_t>> sizes;
  for (const Port& port : graph.outputs()) sizes.push_back(shapes[static_cast<size_t>(port.value)].sizes());
  return sizes;
}

}  // namespace

Session::Session(std::shared_ptr<const Model> model, int threads, int64_t pass_bytes, ChooseSegments choose)
    : model_(std::move(model)),
      pool_(threads),
      pass_bytes_(pass_bytes),
      choose_(std::move(choose)),
      macs_(model_->steps().size(), 0),
      milliseconds_(model_->steps().size(), 0.0) {}

std::vector<std::vector<int64_t>> Session::output_sizes(std::span<const std::vector<int64_t>> inputs) const {
  const bool planned = !sizes_.empty() && std::equal(inputs.begin(), inputs.end(), sizes_.begin(), sizes_.end());
  return sizes_of_outputs(model_->graph(), planned ? shapes_ : infer_shapes(model_->graph(), inputs));
}

Session::Pass Session::make_pass(std::vector<std::vector<int64_t>> sizes, int64_t images) const {
  for (auto& size : sizes) size[0] = images;
  return {images, make_plan(*model_, sizes, pool_.threads(), choose_)};
}

int64_t Session::images_per_pass(const std::vector<std::vector<int64_t>>& sizes) const {
  const int64_t images = sizes.empty() ? 0 : sizes[0][0];
  const bool together = std::all_of(sizes.begin(), sizes.end(), [&](const auto& size) { return size[0] == images; });
  if (images < 2 || !together) return images;
  const int64_t fit = std::max<int64_t>(1, pass_bytes_ / std::max<int64_t>(1, make_pass(sizes, 1).plan.arena_bytes));
  return div_up(images, div_up(images, fit));  // evenly
}

void Session::plan(std::vector<std::vector<int64_t>> sizes) {
  std::vector<Shape> shapes = infer_shapes(model_->graph(), sizes);
  std::vector<Pass> passes;
  const int64_t images = sizes.empty() ? 0 : sizes[0][0], each = images_per_pass(sizes);
  const bool whole = each == images;
  passes.push_back(whole ? Pass{images, make_plan(*model_, sizes, pool_.threads(), choose_)} : make_pass(sizes, each));
  if (!whole && images % each != 0) passes.push_back(make_pass(sizes, images % each));
  int64_t bytes = 0;
  for (const Pass& pass : passes) bytes = std::max(bytes, pass.plan.arena_bytes);
  const auto room = static_cast<size_t>(bytes + kOverread);  // a value may end where the arena does
  if (room > arena_.size()) {
    arena_ = Buffer();  // before the larger one is asked for
    sizes_.clear();
    arena_ = Buffer(room);
  }
  macs_.assign(macs_.size(), 0);
  for (Pass& pass : passes) {
    for (size_t v = 0; v < pass.plan.planes.size(); ++v)
      if (pass.plan.offsets[v] >= 0) pass.plan.planes[v].data = arena_.data() + pass.plan.offsets[v];
    const int64_t times = whole ? 1 : &pass == &passes.front() ? images / each : 1;
    for (size_t k = 0; k < macs_.size(); ++k) macs_[k] += times * pass.plan.macs[k];
  }
  arena_bytes_ = bytes;
  shapes_ = std::move(shapes);
  passes_ = std::move(passes);
  sizes_ = std::move(sizes);
}

void Session::run(std::span<const Input> inputs, std::span<float* const> outputs) {
  if (running_.exchange(true, std::memory_order_acquire))
    throw Error(Status::unsupported, "This session is running in another thread; give each thread a session of its own.");
  struct Release {
    std::atomic<bool>& running;
    ~Release() { running.store(false, std::memory_order_release); }
  } release{running_};
  run_batch(inputs, outputs);
}

void Session::check_pointers(std::span<const Input> inputs, std::span<float* const> outputs) const {
  const Graph& graph = model_->graph();
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].data == nullptr && shapes_[static_cast<size_t>(graph.inputs()[i].value)].images > 0)
      throw Error(Status::invalid_argument, "Input '" + graph.inputs()[i].name + "' has no data.");
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i] == nullptr && shapes_[static_cast<size_t>(graph.outputs()[i].value)].images > 0)
      throw Error(Status::invalid_argument, "Output '" + graph.outputs()[i].name + "' has no memory.");
}

void Session::run_batch(std::span<const Input> inputs, std::span<float* const> outputs) {
  const Graph& graph = model_->graph();
  if (outputs.size() != graph.outputs().size())
    throw Error(Status::invalid_argument, "The network has " + std::to_string(graph.outputs().size()) + " outputs, not " +
                                              std::to_string(outputs.size()) + ".");
  bool same = !sizes_.empty() && inputs.size() == sizes_.size();
  for (size_t i = 0; same && i < inputs.size(); ++i) same = inputs[i].sizes == sizes_[i];
  if (!same) {
    std::vector<std::vector<int64_t>> sizes;
    for (const Input& input : inputs) sizes.push_back(input.sizes);
    plan(std::move(sizes));
  }
  check_pointers(inputs, outputs);
  milliseconds_.assign(milliseconds_.size(), 0.0);
  const auto empty = [](const auto& size) { return size[0] == 0; };
  if (std::any_of(sizes_.begin(), sizes_.end(), empty)) return;  // no image in, so nothing out

  const int64_t images = sizes_.empty() ? 0 : sizes_[0][0];
  int64_t first = 0;
  do {
    const Pass& pass = images - first >= passes_.front().images ? passes_.front() : passes_.back();
    run_pass(pass, first, inputs, outputs);
    first += pass.images;
  } while (first < images);
}

void Session::run_pass(const Pass& pass, int64_t first_image, std::span<const Input> inputs, std::span<float* const> outputs) {
  const Graph& graph = model_->graph();
  const Plan& plan = pass.plan;
  // Elements of all images before this pass.
  const auto skipped = [&](size_t value) {
    const Shape& shape = plan.shapes[value];
    return first_image * shape.channels * shape.height * shape.width;
  };
  std::vector<const float*> sources(plan.shapes.size(), nullptr);
  std::vector<float*> targets(plan.shapes.size(), nullptr);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const auto value = static_cast<size_t>(graph.inputs()[i].value);
    sources[value] = inputs[i].data + skipped(value);
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto value = static_cast<size_t>(graph.outputs()[i].value);
    if (targets[value] == nullptr) targets[value] = outputs[i] + skipped(value);
  }

  for (const Segment& segment : plan.segments) {
    int64_t first = 0;
    do {
      const int64_t images = std::min(segment.images, pass.images - first);
      run_segment(pass, segment, first, images, sources, targets);
      first += images;
    } while (first < pass.images);
  }
  // A value that is an output more than once was made once.
  for (size_t i = 0; i < outputs.size(); ++i) {
    const auto value = static_cast<size_t>(graph.outputs()[i].value);
    float* to = outputs[i] + skipped(value);
    if (to != targets[value]) std::memcpy(to, targets[value], static_cast<size_t>(plan.shapes[value].elements()) * sizeof(float));
  }
}

void Session::run_segment(const Pass& pass, const Segment& segment, int64_t first_image, int64_t images,
                          std::span<const float* const> sources, std::span<float* const> targets) {
  const Graph& graph = model_->graph();
  const Plan& plan = pass.plan;
  // Planes of these images alone.
  const auto planes_at = [&](int value) {
    Planes planes = plan.planes[static_cast<size_t>(value)];
    if (plan.whole[static_cast<size_t>(value)]) planes.data += first_image * planes.height * planes.width * 4;
    if (segment.images < pass.images) planes.images = static_cast<int32_t>(images);
    return planes;
  };
  const auto float_at = [&](auto* values, int value) {
    const Shape& shape = plan.shapes[static_cast<size_t>(value)];
    return values == nullptr ? values : values + first_image * shape.channels * shape.height * shape.width;
  };
  std::vector<Planes> in;
  auto before = std::chrono::steady_clock::now();
  for (size_t k = segment.begin; k < segment.end; ++k) {
    if (plan.skipped[k]) continue;
    const Node& node = graph.nodes()[k];
    in.clear();
    for (int input : node.inputs) in.push_back(planes_at(input));
    const int from = node.inputs[0];
    model_->steps()[k]->run({in, planes_at(node.output), float_at(sources[static_cast<size_t>(from)], from),
                             float_at(targets[static_cast<size_t>(node.output)], node.output), arena_.data(), pool_});
    const auto after = std::chrono::steady_clock::now();
    milliseconds_[k] += std::chrono::duration<double, std::milli>(after - before).count();
    before = after;
  }
}

}  // namespace niwaki
