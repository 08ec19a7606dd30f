// The command line of niwaki-run.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

// A command line that is wrong: exit status 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  std::string file, entry;
  std::vector<std::string> inputs, expected, saved;  // files, one for each input or output in order
  int64_t batch = 1, height = 0, width = 0;          // 0: what the network expects, or 224
  std::map<std::string, int64_t> sizes;              // free sizes by name
  int threads = 1, rounds = 20;
  double tolerance = 0.0;
  bool layers = false, json = false, help = false;
};

extern const char* const kUsage;

Options parse(int argc, char** argv);
