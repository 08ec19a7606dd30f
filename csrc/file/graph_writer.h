// The graph section of a file, of a version that format.h names.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/entries.h"

namespace niwaki {

// `tensors` gets the tensors in the order of their rows in the tensor table: one row for a tensor that is the same in several entries.
// Entries with names make a section of format::kEntriesVersion, a single one without a name one of format::kVersion.
std::vector<uint8_t> write_graphs(std::span<const Entry> entries, std::vector<Tensor>& tensors);

}  // namespace niwaki
