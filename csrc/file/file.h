// The .niwaki file: docs/file-format.md describes it to the byte.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "graph/graph.h"

namespace niwaki {

// How a tensor is stored: int8 weights of rank 2 and more in the smallest form, everything else dense.
enum class Form : uint8_t {
  dense = 0,
  block_mask =
      1,         // a bit for each block of 1 output x 4 consecutive input channels at one tap, then the blocks that are not zero
  bit_mask = 2,  // a bit for each element, then the elements that are not zero
};

const char* form_name(Form form);  // "dense", "block mask", "bit mask"

struct StoredSize {
  Form form;
  int64_t bytes;
};
StoredSize stored_size(const Tensor& tensor);  // the form that the writer chooses

// The file appears complete, by rename, or not at all. Throws Error(invalid_file), naming the path.
void write_file(const Graph& graph, const std::string& path);

// Maps the file; payloads stay in the mapping for as long as the graph or a copy of it lives, so nobody may write to the
// file in place meanwhile (write_file never does). Throws Error(invalid_file), one sentence that names the path, for a file
// that is missing, empty, cut short, corrupt, not ours, or newer than this build.
Graph read_file(const std::string& path);

// The same from the bytes of a file. They are copied: they may go away, and may lie anywhere.
Graph read_memory(std::span<const uint8_t> bytes);

}  // namespace niwaki
