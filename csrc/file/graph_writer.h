// The graph section of a file, of a version that format.h names.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/entries.h"

namespace niwaki {

struct GraphSection {
  uint32_t version;
  std::vector<uint8_t> bytes;
};

// `tensors` gets the tensors in the order of their rows in the tensor table: one row for a tensor that is the same in several entries, or in nodes that
// are calls of one layer. Plain values of eight bits make a section of format::kBytesVersion; else such nodes make one of format::kRepeatsVersion; else entries with names make one of format::kEntriesVersion, a single one
// without a name one of format::kVersion.
GraphSection write_graphs(std::span<const Entry> entries, std::vector<Tensor>& tensors);

}  // namespace niwaki
