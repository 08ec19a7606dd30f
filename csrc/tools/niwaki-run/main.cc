// niwaki-run FILE: loads a network, runs it, compares its answers with stored ones, times it. Needs libniwaki and nothing else.
// Exit status: 0; 1 where the answers are not as expected; 2 for a wrong command line; 3 for what the library refuses.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>

#include "arrays.h"
#include "options.h"
#include "result.h"

namespace {

using Clock = std::chrono::steady_clock;
using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

// The sizes that an input gets where no array is given for it: what the options say, what the network expects, or few.
niwaki::Sizes input_sizes(const Options& options, const niwaki_port& port) {
  niwaki::Sizes sizes = niwaki::sizes(port.expected);
  for (size_t axis = 0; axis < sizes.size(); ++axis) {
    const niwaki_dim& dim = port.dims[axis];
    if (dim.name == nullptr) {
      if (dim.low == dim.high) continue;
      throw UsageError(std::string("the sizes of input '") + port.name +
                       "' follow from free sizes; give it as a .npy file (--input).");
    }
    const bool image = sizes.size() == 4 && axis >= 2;
    if (axis == 0) sizes[axis] = options.batch;
    if (sizes[axis] < 0) sizes[axis] = image ? 224 : 1;
    if (image && options.height > 0) sizes[axis] = axis == 2 ? options.height : options.width;
    sizes[axis] = std::clamp(sizes[axis], dim.low, dim.high);
    if (const auto given = options.sizes.find(dim.name); given != options.sizes.end()) sizes[axis] = given->second;
  }
  return sizes;
}

void check_names(const Options& options, const niwaki::Model& model) {
  const auto sizes = model.free_sizes();
  for (const auto& [name, size] : options.sizes) {
    const auto same = [&](const niwaki_size& known) { return known.name == name; };
    if (std::any_of(sizes.begin(), sizes.end(), same)) continue;
    std::string names;
    for (const niwaki_size& known : sizes) names += (names.empty() ? "" : ", ") + std::string(known.name);
    throw UsageError("--size: the network has no free size '" + name + "'" + (names.empty() ? "." : ", but " + names + "."));
  }
}

// The network, or the entry point of it that was asked for.
niwaki::Model open(const Options& options, const niwaki_options& settings) {
  niwaki::Model model(options.file, settings);
  if (!options.entry.empty()) return model.entry(options.entry);
  const std::vector<std::string> names = model.entries();
  if (names.size() < 2) return model;
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  throw UsageError(options.file + " has several entry points: " + text + "; say which with --entry.");
}

void expect_count(const char* option, size_t given, size_t wanted, const char* what) {
  if (given != 0 && given != wanted)
    throw UsageError(std::string(option) + " is given " + std::to_string(given) + " times; the network has " +
                     std::to_string(wanted) + " " + what + "s.");
}

// Largest memory of the process so far, from the system's own count; 0 where there is none.
long peak_kib() {
  const File file(std::fopen("/proc/self/status", "r"), [](std::FILE* open) { return open ? std::fclose(open) : 0; });
  char line[256];
  long peak = 0;
  while (file && std::fgets(line, sizeof line, file.get()) != nullptr)
    if (std::sscanf(line, "VmHWM: %ld kB", &peak) == 1) return peak;
  return 0;
}

Result work(const Options& options) {
  Result result;
  niwaki_options settings{};
  settings.threads = options.threads;
  auto begin = Clock::now();
  const niwaki::Model model = open(options, settings);
  niwaki::Session session(model, settings);
  result.open_ms = milliseconds_since(begin);
  result.isa = model.isa();

  const auto ports = model.inputs();
  const auto output_ports = model.outputs();
  expect_count("--input", options.inputs.size(), ports.size(), "input");
  expect_count("--expect", options.expected.size(), output_ports.size(), "output");
  expect_count("--save", options.saved.size(), output_ports.size(), "output");

  check_names(options, model);
  std::vector<Array> data(ports.size()), answers;
  std::vector<niwaki_tensor> inputs, outputs;
  for (size_t i = 0; i < ports.size(); ++i) {
    data[i].type = ports[i].type;
    if (options.inputs.empty() || !is_npy(options.inputs[i])) data[i] = Array(ports[i].type, input_sizes(options, ports[i]));
    options.inputs.empty() ? fill(data[i], static_cast<uint32_t>(i)) : read(options.inputs[i], data[i]);
    result.shapes.push_back(data[i].sizes);
    inputs.push_back(data[i].tensor());
  }
  const auto sizes = model.output_sizes(result.shapes);
  for (size_t i = 0; i < sizes.size(); ++i) answers.emplace_back(output_ports[i].type, sizes[i]);
  for (Array& answer : answers) outputs.push_back(answer.tensor());

  begin = Clock::now();
  session.run(inputs, outputs);
  result.first_ms = milliseconds_since(begin);
  for (size_t i = 0; i < options.saved.size(); ++i) write(options.saved[i], answers[i]);
  for (size_t i = 0; i < options.expected.size(); ++i) {
    Array expected = answers[i];
    read(options.expected[i], expected);
    if (expected.sizes != answers[i].sizes) throw UsageError(options.expected[i] + " has another shape than the output.");
    result.compared = true;
    result.largest_difference = std::max(result.largest_difference, largest_difference(answers[i], expected));
    result.same = result.largest_difference <= options.tolerance;
  }

  for (const niwaki_layer& layer : session.layers()) result.layers.push_back({layer, {}});
  if (options.rounds == 0)
    for (LayerResult& one : result.layers) one.milliseconds.push_back(one.layer.milliseconds);
  for (int round = options.rounds > 0 ? -3 : 0; round < options.rounds; ++round) {
    begin = Clock::now();
    session.run(inputs, outputs);
    const double time = milliseconds_since(begin);
    if (round < 0) continue;
    result.milliseconds.push_back(time);
    if (!options.layers) continue;
    for (size_t k = 0; k < result.layers.size(); ++k) {
      niwaki::check(niwaki_session_layer(session.get(), k, &result.layers[k].layer));
      result.layers[k].milliseconds.push_back(result.layers[k].layer.milliseconds);
    }
  }
  result.activation_bytes = session.activation_bytes();
  result.peak_kib = peak_kib();
  // The names belong to the session, which ends here: what is printed is printed now.
  (options.json ? print_json : print_text)(options, result);
  return result;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Options options = parse(argc, argv);
    if (options.help) {
      std::fputs(kUsage, stdout);
      return 0;
    }
    return work(options).same ? 0 : 1;
  } catch (const UsageError& error) {
    std::fprintf(stderr, "niwaki-run: %s\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "niwaki-run: %s\n", error.what());
    return 3;
  }
}
