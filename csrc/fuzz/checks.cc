#include "fuzz/checks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <vector>

#include "base/status.h"
#include "file/file.h"
#include "fuzz/budget.h"
#include "graph/shapes.h"
#include "runtime/session.h"
#include "testing/heap.h"
#include "testing/test.h"

namespace niwaki::fuzz {
namespace {

constexpr size_t kBuffers = size_t{64} << 20;      // for packing and for running, each
constexpr int64_t kMostValues = int64_t{1} << 22;  // elements of all values of a run
constexpr int64_t kMostWork = 3'000'000;           // products, comparisons and copies of a run
constexpr int64_t kImages = 2;

std::string complaint(const char* what, double found, double most) {
  return std::string(what) + ": " + std::to_string(found) + " of at most " + std::to_string(most);
}

// Runs `action`; an Error is an answer like any other.
template <typename Action>
void try_to(const Action& action) {
  try {
    action();
  } catch (const Error& error) {
    if (error.status() == Status::internal) throw;
  }
}

// Small images where the network does not say, or says that they are large.
std::vector<std::vector<int64_t>> sizes_for(const Graph& graph, int64_t side) {
  std::vector<std::vector<int64_t>> sizes;
  const auto chosen = [&](int64_t expected) { return expected > 0 ? std::min<int64_t>(expected, 48) : side; };
  for (const Port& port : graph.inputs()) {
    const Value& value = graph.value(port.value);
    if (value.rank == 2) {
      sizes.push_back({kImages, value.channels});
    } else {
      sizes.push_back({kImages, value.channels, chosen(port.expected_height), chosen(port.expected_width)});
    }
  }
  return sizes;
}

// Whether a run at these sizes is within the budget. What a pool looks at is its kernel, but no more than the image.
bool affordable(const Graph& graph, std::span<const std::vector<int64_t>> sizes) {
  const std::vector<Shape> shapes = infer_shapes(graph, sizes);
  double values = 0, work = 0;
  const auto elements = [](const Shape& s) {
    return static_cast<double>(s.channels + 4) * static_cast<double>(s.images * s.height) * static_cast<double>(s.width);
  };
  for (const Shape& shape : shapes) values += elements(shape);
  for (const Node& node : graph.nodes()) {
    const Shape &in = shapes[static_cast<size_t>(node.inputs[0])], &out = shapes[static_cast<size_t>(node.output)];
    double each = 1;
    if (node.attributes.contains("kernel")) {
      const auto& kernel = node.integers("kernel");
      each = static_cast<double>(std::min(kernel[0], in.height) * std::min(kernel[1], in.width));
    } else if (node.op == Op::adaptive_avg_pool2d) {
      each = std::ceil(static_cast<double>(in.height) / static_cast<double>(out.height) + 1) *
             std::ceil(static_cast<double>(in.width) / static_cast<double>(out.width) + 1);
    } else if (node.op == Op::conv2d || node.op == Op::linear) {
      const Tensor& weight = node.tensor("weight");
      each = 2 * static_cast<double>(weight.elements()) / static_cast<double>(weight.shape()[0]);
    }
    work += elements(out) * each;
  }
  return values <= kMostValues && work <= kMostWork;
}

float odd_number(testing::Random& random) {
  constexpr float kOdd[] = {0.0f,
                            -0.0f,
                            1e-40f,
                            3e38f,
                            -3e38f,
                            std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};
  return kOdd[random.next() % std::size(kOdd)];
}

std::vector<std::vector<float>> noise(std::span<const std::vector<int64_t>> sizes) {
  testing::Random random(1);
  std::vector<std::vector<float>> inputs;
  for (const auto& size : sizes) {
    int64_t count = 1;
    for (const int64_t s : size) count *= s;
    auto& values = inputs.emplace_back(static_cast<size_t>(count));
    for (float& value : values) value = random.next() % 64 == 0 ? odd_number(random) : random.real(-3.0f, 3.0f);
  }
  return inputs;
}

using Answers = std::vector<std::vector<float>>;

// Nothing where the network, or its sizes, are refused.
std::optional<Answers> answers(const Graph& graph, Isa isa, std::span<const std::vector<int64_t>> sizes) {
  std::optional<Answers> found;
  try_to([&] {
    Budget budget(kBuffers);
    const AllocatorScope scope(budget.allocator());
    Session session(std::make_shared<const Model>(graph, isa), 1);
    const auto inputs = noise(sizes);
    std::vector<Session::Input> sources;
    for (size_t i = 0; i < inputs.size(); ++i) sources.push_back({inputs[i].data(), sizes[i]});
    Answers results;
    std::vector<float*> targets;
    for (const auto& size : session.output_sizes(sizes)) {
      int64_t count = 1;
      for (const int64_t s : size) count *= s;
      results.emplace_back(static_cast<size_t>(count), -7.0f);
    }
    for (auto& result : results) targets.push_back(result.data());
    session.run(sources, targets);
    found = std::move(results);
  });
  return found;
}

bool same(const Answers& a, const Answers& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.size() == y.size() && (x.empty() || std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0);
  });
}

std::string compare(const Graph& graph, std::span<const std::vector<int64_t>> sizes) {
  std::optional<Answers> first;
  bool any = false;
  for (const Isa isa : supported_isas()) {
    auto found = answers(graph, isa, sizes);
    if (any && found.has_value() != first.has_value())
      return std::string("only some instruction sets refuse it: ") + isa_name(isa);
    if (any && found && !same(*first, *found)) return std::string("another answer with ") + isa_name(isa);
    first = std::move(found), any = true;
  }
  return "";
}

std::string run_all(const Graph& graph) {
  for (const int64_t side : {8, 17}) {
    const auto sizes = sizes_for(graph, side);
    bool fits = false;
    try_to([&] { fits = affordable(graph, sizes); });
    if (!fits) {  // packed all the same
      Budget budget(kBuffers);
      const AllocatorScope scope(budget.allocator());
      try_to([&] { Model(graph, supported_isas().back()); });
      continue;
    }
    if (std::string wrong = compare(graph, sizes); !wrong.empty()) return wrong;
  }
  return "";
}

// What went wrong, and otherwise whether the time was kept. The work that a check may ask for grows with the file.
template <typename Check>
std::string timed(const Check& check) {
  const double begin = cpu_seconds();
  std::string wrong = check();
  const double seconds = cpu_seconds() - begin;
  if (wrong.empty() && seconds > kMostSeconds) wrong = complaint("seconds", seconds, kMostSeconds);
  return wrong;
}

}  // namespace

std::string check_reading(std::span<const uint8_t> bytes) {
  return timed([&]() -> std::string {
    const size_t before = testing::heap_live();
    testing::reset_peak();
    Budget budget(SIZE_MAX / 2);
    const AllocatorScope scope(budget.allocator());
    std::optional<Graph> graph;
    try_to([&] { graph = read_memory(bytes); });
    const size_t taken = testing::heap_peak() - before + budget.peak(), most = most_for_reading(bytes.size());
    if (taken > most) return complaint("bytes for reading", static_cast<double>(taken), static_cast<double>(most));
    if (!graph) return "";
    for (const Node& node : graph->nodes())
      for (const auto& [name, tensor] : node.tensors) {
        const Tensor& packed = tensor;
        if (packed.bytes() > 256 * static_cast<int64_t>(bytes.size())) return "a tensor is more than 256 times the file";
        try_to([&] { (void)packed.unpacked(); });
      }
    return "";
  });
}

std::string check_running(std::span<const uint8_t> bytes) {
  return timed([&]() -> std::string {
    std::optional<Graph> graph;
    try_to([&] { graph = read_memory(bytes); });
    return graph ? run_all(*graph) : "";
  });
}

}  // namespace niwaki::fuzz
