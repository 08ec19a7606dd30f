// Changes a network as a network, where mutate.cc changes bytes: what comes out is one that the graph takes.
#pragma once

#include <optional>

#include "fuzz/file_parts.h"
#include "testing/test.h"

namespace niwaki::fuzz {

// Draws an attribute of a node, or the range of a free size, from all that the operator's rule allows, and writes the graph of the file
// anew. Nothing for a file that the reader refuses, or where several draws made none that the graph takes.
std::optional<Bytes> change_network(const FileParts& parts, testing::Random& random);

// Any of low to high, small and large ones alike: both ends, what is next to them, and every power of two between.
int64_t draw_between(int64_t low, int64_t high, testing::Random& random);

}  // namespace niwaki::fuzz
