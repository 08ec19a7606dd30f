#include "fuzz/checks.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "file/crc32c.h"
#include "file/file.h"
#include "fuzz/budget.h"
#include "fuzz/cost.h"
#include "fuzz/draw.h"
#include "graph/fuse.h"
#include "graph/operators.h"
#include "graph/shapes.h"
#include "runtime/session.h"
#include "testing/heap.h"
#include "testing/test.h"

namespace niwaki::fuzz {
namespace {

constexpr size_t kBuffers = size_t{64} << 20;  // of packed weights and activations
constexpr int kDraws = 4;                      // of sizes, for each file

// What is being done: for doing(), which may be asked in the middle of anything, and for a complaint about the time that it took.
struct {
  char text[1024] = "reading";
  double begin = 0;
} current;

struct {
  double seconds = 0;
  std::string text;
} slowest;  // of the actions of this check

// Ends the action before.
void begin_action(const std::string& text) {
  const double now = cpu_seconds();
  if (now - current.begin > slowest.seconds) slowest = {now - current.begin, current.text};
  current.begin = now;
  std::snprintf(current.text, sizeof current.text, "%s", text.c_str());
}

void begin_action(const char* what, Isa isa, std::span<const Sizes> inputs) {
  std::string text = std::string(what) + " for " + isa_name(isa) + " with inputs of";
  for (const Sizes& input : inputs) {
    for (size_t i = 0; i < input.size(); ++i) text += (i == 0 ? " " : " x ") + std::to_string(input[i]);
    text += ";";
  }
  begin_action(text);
}

std::string complaint(const char* what, double found, double most) {
  return std::string(what) + ": " + std::to_string(found) + " of at most " + std::to_string(most);
}

// Runs `action`; an Error is an answer like any other.
template <typename Action>
Status try_to(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    if (error.status() == Status::internal) throw;
    return error.status();
  }
  return Status::ok;
}

// Files are small, and their networks would always go whole: here each image goes alone, and through as few steps as can be.
std::vector<Segment> smallest_segments(const Batch& batch, int) {
  std::vector<Segment> segments;
  size_t begin = 0;
  for (const Cut& cut : possible_cuts(batch)) {
    if (!can_be_made_in_parts(batch, cut.value, 1)) continue;
    segments.push_back({begin, cut.step, 1});
    begin = cut.step;
  }
  segments.push_back({begin, batch.model.steps().size(), 1});
  return segments;
}

// Everything that can be seen of a run: outputs, then states.
using Answer = std::vector<Elements>;

// Runs a model again and again, and keeps the states in between.
class Runner {
 public:
  // in_parts: on two threads and in the smallest segments, else on one thread and as it is best.
  Runner(const Graph& graph, Isa isa, bool in_parts)
      : graph_(graph),
        session_(std::make_shared<const Model>(graph, isa), in_parts ? 2 : 1, Session::kPassBytes,
                 in_parts ? smallest_segments : choose_segments) {}

  // Throws Error where the network, or its sizes or numbers, are refused.
  Answer run(std::span<const Sizes> sizes, uint64_t seed) {
    testing::Random random(seed);
    std::vector<Elements> data;
    std::vector<Session::Input> inputs;
    for (size_t i = 0; i < sizes.size(); ++i) {
      data.emplace_back(graph_.value(graph_.inputs()[i].value).dtype, elements_of(sizes[i]));
      data.back().fill(random);
    }
    for (size_t i = 0; i < sizes.size(); ++i) inputs.push_back({data[i].data(), sizes[i]});
    begin_action("planning", session_.model().isa(), sizes);
    const std::vector<Sizes> shapes = session_.output_shapes(sizes);
    Answer answer;
    for (size_t i = 0; i < shapes.size(); ++i)
      answer.emplace_back(graph_.value(graph_.outputs()[i].value).dtype, elements_of(shapes[i]));
    std::vector<void*> outputs;
    for (Elements& output : answer) outputs.push_back(output.data());
    begin_action("running", session_.model().isa(), sizes);
    session_.run(inputs, outputs);
    name_step();
    for (const State& state : graph_.states()) {
      const Tensor value = session_.state(state.name);
      answer.emplace_back(value.dtype(), value.elements());
      std::copy(value.data(), value.data() + value.bytes(), answer.back().data());
    }
    return answer;
  }

  // Sizes are planned, however large they are, but nothing runs: there is no data. Without an element in or out it would.
  void plan(std::span<const Sizes> sizes) {
    begin_action("planning", session_.model().isa(), sizes);
    const auto empty = [](const Sizes& shape) { return elements_of(shape) == 0; };
    const std::vector<Sizes> shapes = session_.output_shapes(sizes);
    if (std::all_of(sizes.begin(), sizes.end(), empty) && std::all_of(shapes.begin(), shapes.end(), empty)) return;
    std::vector<Session::Input> inputs;
    for (const Sizes& size : sizes) inputs.push_back({nullptr, size});
    const std::vector<void*> outputs(graph_.outputs().size(), nullptr);
    session_.run(inputs, outputs);
  }

  void reset() { session_.reset_state(); }

 private:
  // Says which step of a run took longest.
  void name_step() const {
    const std::vector<double> milliseconds = session_.milliseconds();
    const auto most = std::max_element(milliseconds.begin(), milliseconds.end());
    if (most == milliseconds.end()) return;
    const Node& node = session_.model().graph().nodes()[static_cast<size_t>(most - milliseconds.begin())];
    const size_t length = std::strlen(current.text);
    std::snprintf(current.text + length, sizeof current.text - length, " most in %s", describe(node).c_str());
  }

  const Graph& graph_;
  Session session_;
};

struct Draw {
  std::vector<Sizes> sizes;
  bool plans, runs;  // neither where they would take too long
};

// Nothing where the sizes are refused. Where memory ends is another matter for each instruction set, whose kernels need unlike scratch: such an
// outcome says nothing.
struct Outcome {
  std::optional<Answer> answer;
  bool had_memory = true;
};

// The outcomes of all draws; the first is asked for again at the end, when the session knows others.
using Answers = std::vector<Outcome>;

Answers answers(const Graph& graph, Isa isa, bool in_parts, std::span<const Draw> draws) {
  Answers found;
  Budget budget(kBuffers);
  const AllocatorScope scope(budget.allocator());
  std::optional<Runner> runner;
  begin_action(std::string("packing for ") + isa_name(isa));
  const Status packed = try_to([&] { runner.emplace(graph, isa, in_parts); });
  if (packed == Status::out_of_memory) return Answers(draws.empty() ? 0 : draws.size() + 1, Outcome{{}, false});
  if (!runner) return found;
  const auto add = [&](const Draw& draw, uint64_t seed) {
    Outcome& outcome = found.emplace_back();
    const Status status = try_to([&] {
      if (draw.runs) outcome.answer = runner->run(draw.sizes, seed);
      else if (draw.plans) runner->plan(draw.sizes);
    });
    outcome.had_memory = status != Status::out_of_memory;
  };
  for (size_t i = 0; i < draws.size(); ++i) add(draws[i], i);
  try_to([&] { runner->reset(); });
  if (!draws.empty()) add(draws[0], 0);
  return found;
}

bool both_had_memory(const Outcome& a, const Outcome& b) { return a.had_memory && b.had_memory; }

bool same(const Outcome& a, const Outcome& b) {
  if (!both_had_memory(a, b)) return true;
  return a.answer.has_value() == b.answer.has_value() &&
         (!a.answer || std::equal(a.answer->begin(), a.answer->end(), b.answer->begin(), b.answer->end()));
}

std::string compare(const Graph& graph, std::span<const Draw> draws, std::span<const Isa> isas) {
  std::optional<Answers> first;
  bool in_parts = false;
  for (const Isa isa : isas) {
    Answers found = answers(graph, isa, in_parts, draws);
    in_parts = !in_parts;
    if (!first) first = found;
    if (found.size() != first->size()) return std::string("only some instruction sets refuse it: ") + isa_name(isa);
    for (size_t i = 0; i < found.size(); ++i) {
      if (both_had_memory(found[i], (*first)[i]) && found[i].answer.has_value() != (*first)[i].answer.has_value())
        return std::string("only some instruction sets refuse its sizes: ") + isa_name(isa);
      if (!same(found[i], (*first)[i])) return std::string("another answer with ") + isa_name(isa);
    }
    if (!found.empty() && !same(found.front(), found.back()))
      return std::string("another answer the second time, with ") + isa_name(isa);
  }
  return "";
}

std::string run_all(const Graph& graph, uint64_t seed, std::span<const Isa> isas) {
  testing::Random random(seed);
  // What nobody needs, and would refuse sizes, is gone when a network is planned.
  std::optional<FusedGraph> fused;
  try_to([&] { fused.emplace(fuse(graph)); });
  const Graph& planned = fused ? fused->graph : graph;
  std::vector<Draw> draws;
  for (int i = 0; i < kDraws; ++i) {
    Draw& draw = draws.emplace_back(Draw{draw_sizes(graph, random), true, false});
    try_to([&] {
      draw.plans = plannable(planned, draw.sizes);
      draw.runs = draw.plans && affordable(planned, draw.sizes);
    });
  }
  return compare(graph, draws, isas);
}

// What went wrong, and otherwise whether each action kept its time: of a check there are more, the more instruction sets there are.
template <typename Check>
std::string timed(const Check& check) {
  slowest = {};
  current.begin = cpu_seconds();
  begin_action("reading");
  const std::string wrong = check();
  begin_action("");
  if (!wrong.empty() || slowest.seconds <= kMostSeconds) return wrong;
  return complaint("seconds", slowest.seconds, kMostSeconds) + " " + slowest.text;
}

}  // namespace

const char* doing() { return current.text; }

std::string check_reading(std::span<const uint8_t> bytes) {
  return timed([&]() -> std::string {
    const size_t before = testing::heap_live();
    testing::reset_peak();
    Budget budget(SIZE_MAX / 2);
    const AllocatorScope scope(budget.allocator());
    std::vector<Entry> entries;
    try_to([&] { entries = read_entries(bytes); });
    const size_t taken = testing::heap_peak() - before + budget.peak(), most = most_for_reading(bytes.size());
    if (taken > most) return complaint("bytes for reading", static_cast<double>(taken), static_cast<double>(most));
    for (const Entry& entry : entries)
      for (const Node& node : entry.graph.nodes())
        for (const auto& [name, tensor] : node.tensors) {
          if (tensor.bytes() > 256 * static_cast<int64_t>(bytes.size())) return "a tensor is more than 256 times the file";
          const Tensor& packed = tensor;
          try_to([&] { (void)packed.unpacked(); });
        }
    return "";
  });
}

std::string check_running(std::span<const uint8_t> bytes, std::span<const Isa> isas) {
  return timed([&]() -> std::string {
    std::vector<Entry> entries;
    try_to([&] { entries = read_entries(bytes); });
    for (const Entry& entry : entries) {
      const std::string wrong = run_all(entry.graph, crc32c(bytes), isas);
      if (!wrong.empty()) return entries.size() > 1 ? "entry '" + entry.name + "': " + wrong : wrong;
    }
    return "";
  });
}

}  // namespace niwaki::fuzz
