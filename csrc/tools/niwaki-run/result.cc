#include "result.h"

#include <algorithm>
#include <cstdio>

namespace {

std::string joined(const niwaki::Sizes& sizes, const char* between) {
  std::string text;
  for (size_t i = 0; i < sizes.size(); ++i) text += (i > 0 ? between : "") + std::to_string(sizes[i]);
  return text;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      result += escape;
    } else {
      result += c;
    }
  }
  return result + "\"";
}

double rate(const niwaki_layer& layer, double milliseconds) {
  return milliseconds > 0.0 ? static_cast<double>(layer.macs) / milliseconds * 1e-6 : 0.0;
}

// What a run answers at a time: the first size of the first input.
double items(const Result& result) {
  return result.shapes.empty() || result.shapes[0].empty() ? 1.0 : static_cast<double>(result.shapes[0][0]);
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

void print_text(const Options& options, const Result& result) {
  if (options.layers) {
    size_t width = 5;
    for (const LayerResult& one : result.layers) width = std::max(width, std::string(one.layer.name).size());
    std::printf("%-*s  %-18s  %-11s  %6s  %9s  %7s  %s\n", static_cast<int>(width), "layer", "op", "scheme", "zeros", "ms",
                "GMAC/s", "kernel");
    for (const LayerResult& one : result.layers) {
      const double time = median(one.milliseconds);
      std::printf("%-*s  %-18s  %-11s  %5.1f%%  %9.4f  %7.1f  %s\n", static_cast<int>(width), one.layer.name, one.layer.op,
                  one.layer.scheme, 100.0 * one.layer.zeros, time, rate(one.layer, time), one.layer.kernel);
    }
    std::printf("\n");
  }
  std::string shapes;
  for (const auto& sizes : result.shapes) shapes += (shapes.empty() ? "" : ", ") + joined(sizes, "x");
  std::printf("%s: %s, %d thread%s, %s, %.1f MB of activations", options.file.c_str(), shapes.c_str(), options.threads,
              options.threads > 1 ? "s" : "", result.isa.c_str(), static_cast<double>(result.activation_bytes) * 1e-6);
  if (result.peak_kib > 0) std::printf(", %.1f MB at most in all", static_cast<double>(result.peak_kib) * 1024e-6);
  std::printf("\nopened in %.1f ms, first run %.2f ms", result.open_ms, result.first_ms);
  if (!result.milliseconds.empty()) {
    const double middle = median(result.milliseconds);
    std::printf("; then median %.3f ms, fastest %.3f ms of %zu; %.1f %s per second", middle,
                *std::min_element(result.milliseconds.begin(), result.milliseconds.end()), result.milliseconds.size(),
                items(result) / middle * 1e3, !result.shapes.empty() && result.shapes[0].size() == 4 ? "images" : "items");
  }
  std::printf("\n");
  if (result.compared)
    std::printf("%s: largest difference %.9g, allowed %.9g\n", result.same ? "as expected" : "NOT as expected",
                result.largest_difference, options.tolerance);
}

void print_json(const Options& options, const Result& result) {
  std::printf("{\n  \"file\": %s,\n  \"isa\": \"%s\",\n  \"threads\": %d,\n  \"shapes\": [", quoted(options.file).c_str(),
              result.isa.c_str(), options.threads);
  for (size_t i = 0; i < result.shapes.size(); ++i)
    std::printf("%s[%s]", i > 0 ? ", " : "", joined(result.shapes[i], ", ").c_str());
  std::printf("],\n  \"open_ms\": %.3f,\n  \"first_ms\": %.4f,\n  \"rounds\": %zu,\n", result.open_ms, result.first_ms,
              result.milliseconds.size());
  if (!result.milliseconds.empty()) {
    const double middle = median(result.milliseconds);
    std::printf("  \"median_ms\": %.4f,\n  \"min_ms\": %.4f,\n  \"images_per_second\": %.3f,\n", middle,
                *std::min_element(result.milliseconds.begin(), result.milliseconds.end()), items(result) / middle * 1e3);
  }
  if (result.compared)
    std::printf("  \"same\": %s,\n  \"largest_difference\": %.9g,\n", result.same ? "true" : "false", result.largest_difference);
  if (options.layers) {
    std::printf("  \"layers\": [");
    for (size_t i = 0; i < result.layers.size(); ++i) {
      const niwaki_layer& layer = result.layers[i].layer;
      std::printf(
          "%s\n    {\"name\": %s, \"op\": \"%s\", \"scheme\": \"%s\", \"kernel\": %s, \"zeros\": %.6f, \"bytes\": %lld, "
          "\"macs\": %lld, \"milliseconds\": %.5f, \"reason\": %s}",
          i > 0 ? "," : "", quoted(layer.name).c_str(), layer.op, layer.scheme, quoted(layer.kernel).c_str(), layer.zeros,
          static_cast<long long>(layer.bytes), static_cast<long long>(layer.macs), median(result.layers[i].milliseconds),
          quoted(layer.reason).c_str());
    }
    std::printf("\n  ],\n");
  }
  std::printf("  \"peak_kib\": %ld,\n  \"activation_bytes\": %zu\n}\n", result.peak_kib, result.activation_bytes);
}
