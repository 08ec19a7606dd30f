// niwaki-run FILE: loads a network, runs it, compares its answers with stored ones, times it. Needs libniwaki and nothing else.
// Exit status: 0; 1 where the answers are not as expected; 2 for a wrong command line; 3 for what the library refuses.
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>

#include "options.h"
#include "result.h"

namespace {

using Clock = std::chrono::steady_clock;
using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

double milliseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

void read_floats(const std::string& path, std::vector<float>& values) {
  const File file(std::fopen(path.c_str(), "rb"), std::fclose);
  if (!file) throw UsageError(path + " cannot be opened.");
  const size_t found = std::fread(values.data(), sizeof(float), values.size(), file.get());
  if (found != values.size() || std::fgetc(file.get()) != EOF)
    throw UsageError(path + " does not hold " + std::to_string(values.size()) +
                     " float32 values, which the network's shapes ask for.");
}

void write_floats(const std::string& path, const std::vector<float>& values) {
  const File file(std::fopen(path.c_str(), "wb"), std::fclose);
  if (!file || std::fwrite(values.data(), sizeof(float), values.size(), file.get()) != values.size() ||
      std::fflush(file.get()) != 0)
    throw UsageError(path + " cannot be written.");
}

// Sums of uniform values, about normal: the answers do not matter, the speed hardly depends on them.
void fill_with_noise(std::vector<float>& values, uint32_t seed) {
  uint32_t state = seed * 2654435761u + 1;
  for (float& value : values) {
    int32_t sum = 0;
    for (int i = 0; i < 4; ++i) {
      state = state * 1664525u + 1013904223u;
      sum += static_cast<int32_t>(state >> 16) - 32768;
    }
    value = static_cast<float>(sum) / 37837.0f;  // the standard deviation of the sum
  }
}

niwaki::Sizes input_sizes(const Options& options, const niwaki_port& port) {
  niwaki::Sizes sizes = niwaki::sizes(port.expected);
  sizes[0] = options.batch;
  if (sizes.size() < 4) return sizes;
  for (size_t axis = 2; axis < 4; ++axis)
    if (sizes[axis] < 0) sizes[axis] = 224;
  if (options.height > 0) sizes[2] = options.height, sizes[3] = options.width;
  return sizes;
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
  const niwaki::Model model(options.file, settings);
  niwaki::Session session(model, settings);
  result.open_ms = milliseconds_since(begin);
  result.isa = model.isa();

  const auto ports = model.inputs();
  const size_t output_count = model.outputs().size();
  expect_count("--input", options.inputs.size(), ports.size(), "input");
  expect_count("--expect", options.expected.size(), output_count, "output");
  expect_count("--save", options.saved.size(), output_count, "output");

  std::vector<std::vector<float>> data(ports.size()), answers(output_count);
  std::vector<niwaki_tensor> inputs, outputs(output_count);
  for (size_t i = 0; i < ports.size(); ++i) {
    result.shapes.push_back(input_sizes(options, ports[i]));
    data[i].resize(niwaki::elements(niwaki::shape(result.shapes[i])));
    if (options.inputs.empty()) {
      fill_with_noise(data[i], static_cast<uint32_t>(i));
    } else {
      read_floats(options.inputs[i], data[i]);
    }
    inputs.push_back(niwaki::input(data[i], result.shapes[i]));
  }
  const auto sizes = model.output_sizes(result.shapes);
  for (size_t i = 0; i < output_count; ++i) {
    answers[i].resize(niwaki::elements(niwaki::shape(sizes[i])));
    outputs[i].data = answers[i].data();
    outputs[i].bytes = answers[i].size() * sizeof(float);
  }

  begin = Clock::now();
  session.run(inputs, outputs);
  result.first_ms = milliseconds_since(begin);
  for (size_t i = 0; i < options.saved.size(); ++i) write_floats(options.saved[i], answers[i]);
  for (size_t i = 0; i < options.expected.size(); ++i) {
    std::vector<float> expected(answers[i].size());
    read_floats(options.expected[i], expected);
    result.compared = true;
    for (size_t k = 0; k < expected.size(); ++k) {
      double difference = std::abs(static_cast<double>(answers[i][k]) - static_cast<double>(expected[k]));
      if (std::isnan(difference)) difference = std::numeric_limits<double>::max();
      result.largest_difference = std::max(result.largest_difference, difference);
    }
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
