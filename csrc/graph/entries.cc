#include "graph/entries.h"

#include "base/status.h"

namespace niwaki {

void check_entries(std::span<const Entry> entries) {
  const auto refuse = [](const std::string& message) { throw Error(Status::invalid_argument, message); };
  if (entries.empty() || entries.size() > kMostEntries)
    refuse("A network has 1 to " + std::to_string(kMostEntries) + " entry points, not " + std::to_string(entries.size()) + ".");
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].name.empty() && entries.size() > 1) refuse("Entry point " + std::to_string(i) + " has no name.");
    for (size_t k = 0; k < i; ++k)
      if (entries[k].name == entries[i].name) refuse("Two entry points have the name '" + entries[i].name + "'.");
  }
}

}  // namespace niwaki
