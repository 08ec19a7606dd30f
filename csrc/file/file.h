// The .niwaki file: docs/file-format.md describes it to the byte.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "file/coding.h"
#include "graph/entries.h"
#include "graph/graph.h"

namespace niwaki {

// What of a tensor is stored: int8 weights of rank 2 and more in the smallest form, everything else dense.
enum class Form : uint8_t {
  dense = 0,
  block_mask =
      1,         // a bit for each block of 1 output x 4 consecutive input channels at one tap, then the blocks that are not zero
  bit_mask = 2,  // a bit for each element, then the elements that are not zero
};

// How a tensor is stored: its mask, if it has one, and its values are coded each in their own way.
struct Storage {
  Form form = Form::dense;
  Coding mask = Coding::raw;
  Coding values = Coding::raw;
  bool operator==(const Storage&) const = default;
};

std::string storage_name(Storage storage);  // "dense", "block mask", "dense, codebook", "bit mask, huffman", ...

struct StoredSize {
  Storage storage;
  int64_t bytes;
};
StoredSize stored_size(const Tensor& tensor);  // what the writer chooses

// The file appears complete, by rename, or not at all. Throws Error(invalid_file), naming the path.
void write_file(const Graph& graph, const std::string& path);

// The same of several, or one with a name. Tensors that are equal in different entries are stored once. Throws Error(invalid_argument) for
// names that check_entries refuses.
void write_file(std::span<const Entry> entries, const std::string& path);

// Maps the file; payloads stay in the mapping for as long as the graph or a copy of it lives, so nobody may write to the
// file in place meanwhile (write_file never does). Throws Error(invalid_file), one sentence that names the path, for a file
// that is missing, empty, cut short, corrupt, not ours, or newer than this build. Coded weights are decoded when they are
// asked for, once, and throw the same then where the code is wrong although its checksum is right.
// Entries that share a tensor have it once in memory. In most files there is one entry, without a name.
std::vector<Entry> read_entries(const std::string& path);

// The same from the bytes of a file. They are copied: they may go away, and may lie anywhere.
std::vector<Entry> read_entries(std::span<const uint8_t> bytes);

// The only entry of a file. Throws the same, and where there are several.
Graph read_file(const std::string& path);
Graph read_memory(std::span<const uint8_t> bytes);

// Where the parts of a file lie, and the checksums that stand in it.
struct FileInfo {
  struct Payload {
    Storage storage;
    uint64_t offset, bytes;
    uint32_t checksum;
  };
  uint32_t version = 0;
  uint64_t bytes = 0, graph_bytes = 0, table_bytes = 0;
  uint32_t header_checksum = 0, graph_checksum = 0, table_checksum = 0;
  struct Places {
    std::vector<std::map<std::string, Payload>> tensors;  // of each node of the graph, by name
    std::vector<Payload> states;                          // of each state of the graph
  };
  std::vector<Places> entries;
};

struct FileContents {
  std::vector<Entry> entries;
  FileInfo info;
};

// What read_entries reads, and what it does not keep; every checksum was found right. Throws the same.
FileContents inspect_file(const std::string& path);

}  // namespace niwaki
