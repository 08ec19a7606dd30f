#include "runtime/session.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <cstring>
#include <iterator>
#include <utility>

#include "base/status.h"
#include "graph/shapes.h"

namespace niwaki {

// What is known for one set of sizes.
struct Session::Prepared {
  std::vector<Sizes> inputs, outputs;
  std::vector<int64_t> input_bytes, output_bytes;
  int64_t images = 1, each = 1;  // of the batch, and of a pass
  std::vector<Plan> passes;      // one, or two: the usual one and the last one, which may be smaller
  std::vector<int64_t> macs;
  int64_t arena_bytes = 0, setup_bytes = 0;

  bool is_for(std::span<const Sizes> sizes) const { return std::equal(inputs.begin(), inputs.end(), sizes.begin(), sizes.end()); }
};

// Sizes that were asked about: a caller makes room for the outputs, and then runs these.
struct Session::Asked {
  std::vector<Sizes> inputs;
  std::shared_ptr<const Inferred> inferred;
};

// Keeps a second thread out.
class Session::Running {
 public:
  explicit Running(std::atomic<bool>& running) : running_(running) {
    if (running_.exchange(true, std::memory_order_acquire))
      throw Error(Status::unsupported, "This session is running in another thread; give each thread a session of its own.");
  }
  ~Running() { running_.store(false, std::memory_order_release); }
  Running(const Running&) = delete;
  Running& operator=(const Running&) = delete;

 private:
  std::atomic<bool>& running_;
};

Session::Session(std::shared_ptr<const Model> model, int threads, int64_t pass_bytes, ChooseSegments choose)
    : model_(std::move(model)),
      pool_(threads),
      pass_bytes_(pass_bytes),
      choose_(std::move(choose)),
      states_(model_->graph()),
      milliseconds_(model_->steps().size(), 0.0),
      waits_(model_->steps().size()),
      macs_(model_->steps().size(), 0) {}

Session::~Session() = default;

std::vector<Sizes> Session::output_shapes(std::span<const Sizes> inputs) const {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& prepared : prepared_)
      if (prepared->is_for(inputs)) return prepared->outputs;
  }
  const auto asked = ask(inputs);
  std::vector<Sizes> outputs;
  for (const Port& port : model_->graph().outputs()) outputs.push_back(asked->inferred->shapes[static_cast<size_t>(port.value)]);
  const std::lock_guard lock(mutex_);
  asked_ = asked;
  return outputs;
}

std::shared_ptr<const Session::Asked> Session::ask(std::span<const Sizes> inputs) const {
  {
    const std::lock_guard lock(mutex_);
    if (asked_ && std::equal(inputs.begin(), inputs.end(), asked_->inputs.begin(), asked_->inputs.end())) return asked_;
  }
  auto inferred = std::make_shared<const Inferred>(infer_shapes(model_->graph(), inputs));
  return std::make_shared<const Asked>(Asked{{inputs.begin(), inputs.end()}, std::move(inferred)});
}

std::unique_ptr<Session::Prepared> Session::plan(std::vector<Sizes> sizes) const {
  const Graph& graph = model_->graph();
  auto prepared = std::make_unique<Prepared>();
  Shapes shapes(graph, sizes, ask(sizes)->inferred);
  prepared->inputs = std::move(sizes);
  for (const Port& port : graph.inputs())
    prepared->input_bytes.push_back(bytes_of(size_value(*model_, port.value, shapes.all())));
  for (const Port& port : graph.outputs()) {
    const Array output = size_value(*model_, port.value, shapes.all());
    prepared->outputs.push_back(output.dims);
    prepared->output_bytes.push_back(bytes_of(output));
  }
  const auto add_pass = [&](const Shapes& of, int64_t images) {
    prepared->passes.push_back(make_plan(*model_, of, images, pool_.threads(), choose_));
  };
  const auto plan_passes = [&](const Shapes& of) {
    prepared->passes.clear();
    prepared->images = prepared->each = of.images();
    if (of.images() > 1) {
      const Plan one = make_plan(*model_, of, 1, pool_.threads(), choose_);
      const int64_t fit = std::max<int64_t>(1, pass_bytes_ / std::max<int64_t>(1, one.arena_bytes));
      prepared->each = div_up(of.images(), div_up(of.images(), fit));  // evenly
    }
    add_pass(of, prepared->each);
    if (prepared->images % prepared->each != 0) add_pass(of, prepared->images % prepared->each);
  };
  try {
    plan_passes(shapes);
  } catch (const Error&) {  // a network that takes one image, but not as many as suit it best
    if (shapes.images() == 1) throw;
    plan_passes(shapes.whole());
  }
  prepared->macs.assign(model_->steps().size(), 0);
  for (const Plan& pass : prepared->passes) {
    const int64_t times = &pass == &prepared->passes.front() ? prepared->images / prepared->each : 1;
    for (size_t k = 0; k < prepared->macs.size(); ++k) prepared->macs[k] += times * pass.macs[k];
    prepared->arena_bytes = std::max(prepared->arena_bytes, pass.arena_bytes);
    prepared->setup_bytes += pass.setup_bytes;
  }
  return prepared;
}

void Session::reserve(int64_t bytes) {
  const auto room = static_cast<size_t>(bytes + kOverread);  // a value may end where the arena does
  if (room <= arena_.size()) return;
  arena_ = Buffer();  // before the larger one is asked for
  arena_ = Buffer(room);
}

Session::Prepared& Session::prepare(std::span<const Input> inputs) {
  const auto is_for = [&](const Prepared& prepared) {
    bool same = inputs.size() == prepared.inputs.size();
    for (size_t i = 0; same && i < inputs.size(); ++i) same = inputs[i].sizes == prepared.inputs[i];
    return same;
  };
  // Only this thread changes the list: the lock is for those who read it meanwhile.
  const auto found = std::find_if(prepared_.begin(), prepared_.end(), [&](const auto& prepared) { return is_for(*prepared); });
  if (found != prepared_.end()) {
    reserve((*found)->arena_bytes);
    if (found == prepared_.begin()) return **found;
    const std::lock_guard lock(mutex_);
    prepared_.splice(prepared_.begin(), prepared_, found);
  } else {
    std::vector<Sizes> sizes;
    for (const Input& input : inputs) sizes.push_back(input.sizes);
    auto prepared = plan(std::move(sizes));
    reserve(prepared->arena_bytes);
    timing_.assign(model_->steps().size(), 0.0);
    waiting_.clear();
    for (Plan& pass : prepared->passes) run_calls(pass, pass.once, 0, {}, {});
    std::list<std::unique_ptr<Prepared>> fresh, old;
    fresh.push_back(std::move(prepared));
    const std::lock_guard lock(mutex_);
    asked_.reset();
    prepared_.splice(prepared_.begin(), fresh);
    int64_t bytes = 0;
    size_t kept = 0;
    auto last = prepared_.begin();
    for (; last != prepared_.end() && kept < kKeptSizes; ++last, ++kept) {
      bytes += (*last)->setup_bytes;
      if (kept > 0 && bytes > kKeptBytes) break;
    }
    old.splice(old.begin(), prepared_, last, prepared_.end());
  }
  const std::lock_guard lock(mutex_);
  macs_ = prepared_.front()->macs;
  arena_bytes_ = prepared_.front()->arena_bytes;
  return *prepared_.front();
}

void Session::run(std::span<const Input> inputs, std::span<void* const> outputs) {
  const Running running(running_);
  const Graph& graph = model_->graph();
  if (outputs.size() != graph.outputs().size())
    throw Error(Status::invalid_argument, "The network has " + std::to_string(graph.outputs().size()) + " outputs, not " +
                                              std::to_string(outputs.size()) + ".");
  Prepared& prepared = prepare(inputs);
  check_pointers(prepared, inputs, outputs);
  timing_.assign(model_->steps().size(), 0.0);
  waiting_.assign(measures_waits_ ? model_->steps().size() : 0, {});
  pool_.take_waits();  // those of `prepare`

  std::vector<const uint8_t*> sources(inputs.size());
  std::vector<uint8_t*> targets(outputs.size());
  for (int64_t first = 0; first < prepared.images; first += prepared.each) {
    for (size_t i = 0; i < inputs.size(); ++i)
      sources[i] = static_cast<const uint8_t*>(inputs[i].data) + prepared.input_bytes[i] / prepared.images * first;
    for (size_t i = 0; i < outputs.size(); ++i)
      targets[i] = static_cast<uint8_t*>(outputs[i]) + prepared.output_bytes[i] / prepared.images * first;
    const bool usual = prepared.images - first >= prepared.each;
    run_pass(usual ? prepared.passes.front() : prepared.passes.back(), sources, targets);
  }
  states_.commit();
  const std::lock_guard lock(mutex_);
  milliseconds_ = timing_;
  waits_ = waiting_;
  waits_.resize(model_->steps().size());
}

void Session::check_pointers(const Prepared& prepared, std::span<const Input> inputs, std::span<void* const> outputs) const {
  const Graph& graph = model_->graph();
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].data == nullptr && prepared.input_bytes[i] > 0)
      throw Error(Status::invalid_argument, "Input '" + graph.inputs()[i].name + "' has no data.");
  for (size_t i = 0; i < outputs.size(); ++i)
    if (outputs[i] == nullptr && prepared.output_bytes[i] > 0)
      throw Error(Status::invalid_argument, "Output '" + graph.outputs()[i].name + "' has no memory.");
  // Outputs are written before all inputs were read.
  const auto overlap = [](const void* a, int64_t a_bytes, const void* b, int64_t b_bytes) {
    const auto from = reinterpret_cast<std::uintptr_t>(a), to = reinterpret_cast<std::uintptr_t>(b);
    return a_bytes > 0 && b_bytes > 0 && from < to + static_cast<std::uintptr_t>(b_bytes) &&
           to < from + static_cast<std::uintptr_t>(a_bytes);
  };
  for (size_t i = 0; i < outputs.size(); ++i) {
    const std::string start = "The memory of output '" + graph.outputs()[i].name + "' overlaps that of ";
    for (size_t j = 0; j < inputs.size(); ++j)
      if (overlap(outputs[i], prepared.output_bytes[i], inputs[j].data, prepared.input_bytes[j]))
        throw Error(Status::invalid_argument, start + "input '" + graph.inputs()[j].name + "'; give it memory of its own.");
    for (size_t j = 0; j < i; ++j)
      if (overlap(outputs[i], prepared.output_bytes[i], outputs[j], prepared.output_bytes[j]))
        throw Error(Status::invalid_argument, start + "output '" + graph.outputs()[j].name + "'; give it memory of its own.");
  }
}

uint8_t* Session::address(Plan& plan, const Place& place, int64_t image, std::span<const uint8_t* const> inputs,
                          std::span<uint8_t* const> outputs) {
  const auto index = static_cast<size_t>(place.index);
  uint8_t* base = nullptr;
  switch (place.where) {
    case Place::Where::nowhere: return nullptr;
    case Place::Where::arena: base = arena_.data(); break;
    case Place::Where::input: base = const_cast<uint8_t*>(inputs[index]); break;  // no step writes to it
    case Place::Where::output: base = outputs[index]; break;
    case Place::Where::kept: base = plan.kept.data(); break;
    case Place::Where::constant: base = const_cast<uint8_t*>(model_->constant(place.index)); break;
    case Place::Where::state: base = states_.current(index); break;
    case Place::Where::next_state: base = states_.next(index); break;
  }
  return base + place.offset + image * place.image_bytes;
}

void Session::run_pass(Plan& plan, std::span<const uint8_t* const> inputs, std::span<uint8_t* const> outputs) {
  for (PlannedSegment& planned : plan.segments) {
    int64_t first = 0;
    do {
      const int64_t left = plan.images - first;
      Round& round = left >= planned.segment.images ? planned.rounds.front() : planned.rounds.back();
      run_calls(plan, round.calls, first, inputs, outputs);
      first += planned.segment.images;
    } while (first < plan.images);
  }
  for (const Copy& copy : plan.copies)
    if (copy.bytes > 0)
      std::memcpy(address(plan, copy.to, 0, inputs, outputs),
                  address(plan, plan.places[static_cast<size_t>(copy.value)], 0, inputs, outputs),
                  static_cast<size_t>(copy.bytes));
}

void Session::run_calls(Plan& plan, std::span<Call> calls, int64_t first_image, std::span<const uint8_t* const> inputs,
                        std::span<uint8_t* const> outputs) {
  const Graph& graph = model_->graph();
  const auto locate = [&](std::vector<Array>& arrays, const std::vector<int>& values) {
    for (size_t i = 0; i < arrays.size(); ++i) {
      if (values[i] < 0) continue;
      uint8_t* data = address(plan, plan.places[static_cast<size_t>(values[i])], first_image, inputs, outputs);
      if (arrays[i].grouped()) arrays[i].planes.data = data;
      else arrays[i].data = data;
    }
  };
  assert(reinterpret_cast<std::uintptr_t>(arena_.data()) % kCacheLine == 0);
  auto before = std::chrono::steady_clock::now();
  for (Call& call : calls) {
    assert(call.scratch_bytes % static_cast<int64_t>(kCacheLine) == 0);
    const Node& node = graph.nodes()[call.step];
    locate(call.sized.in, node.inputs);
    locate(call.sized.out, node.outputs);
    model_->steps()[call.step]->run(
        {call.sized.in, call.sized.out, *call.sized.attributes, call.setup.get(), arena_.data(), call.scratch_bytes, pool_});
    const auto after = std::chrono::steady_clock::now();
    const double took = std::chrono::duration<double, std::milli>(after - before).count();
    timing_[call.step] += took;
    before = after;
    if (!waiting_.empty()) add_waits(waiting_[call.step], took);
  }
}

void Session::add_waits(Waits& waits, double took) {
  const ThreadPool::Waits loops = pool_.take_waits();
  waits.alone += std::max(0.0, took - loops.loops) * (pool_.threads() - 1);
  waits.begin += loops.begin;
  waits.end += loops.end;
}

void Session::measure_waits(bool on) {
  const Running running(running_);
  pool_.measure_waits(on);
  measures_waits_ = on;
}

std::vector<Session::Waits> Session::waits() const {
  const std::lock_guard lock(mutex_);
  return waits_;
}

void Session::reset_state() {
  const Running running(running_);
  states_.reset();
}

Tensor Session::state(const std::string& name) const {
  const Running running(running_);
  return states_.get(name);
}

void Session::set_state(const std::string& name, const Tensor& value) {
  const Running running(running_);
  states_.set(name, value);
}

std::vector<double> Session::milliseconds() const {
  const std::lock_guard lock(mutex_);
  return milliseconds_;
}

std::vector<int64_t> Session::macs() const {
  const std::lock_guard lock(mutex_);
  return macs_;
}

int64_t Session::activation_bytes() const {
  const std::lock_guard lock(mutex_);
  return arena_bytes_;
}

}  // namespace niwaki
