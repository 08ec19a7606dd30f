// Errors of the core. Inside the library an error is an exception; the C API turns it into a status and a message at the border.
#pragma once

#include <stdexcept>
#include <string>

namespace niwaki {

enum class Status : int {
  ok = 0,
  invalid_argument = 1,  // the caller passed something wrong: shape, type, name, range
  invalid_file = 2,      // missing, empty, truncated, corrupt, foreign or newer file
  unsupported = 3,       // well formed, but not something this build or CPU can do
  out_of_memory = 4,
  internal = 5,
};

// The message is one sentence: what is wrong, where (layer, argument, file), what to do.
class Error : public std::runtime_error {
 public:
  Error(Status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  Status status() const { return status_; }

 private:
  Status status_;
};

}  // namespace niwaki
