// What niwaki-run found, and how it is printed.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "niwaki/niwaki.hpp"
#include "options.h"

struct LayerResult {
  niwaki_layer layer;
  std::vector<double> milliseconds;  // of each round
};

struct Result {
  std::string isa;
  std::vector<niwaki::Sizes> shapes;  // of the inputs
  double open_ms = 0.0, first_ms = 0.0;
  std::vector<double> milliseconds;  // of each round
  std::vector<LayerResult> layers;
  std::size_t activation_bytes = 0;
  long peak_kib = 0;  // of the process's memory; 0 where the system does not say
  bool compared = false;
  double largest_difference = 0.0;  // to what was expected
  bool same = true;                 // within the tolerance
};

double median(std::vector<double> values);
void print_text(const Options& options, const Result& result);
void print_json(const Options& options, const Result& result);
