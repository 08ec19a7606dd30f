// The entry points of a network: graphs that programs ask for by name, such as the image and the text tower of one model. They lie in one
// file and may have weights in common.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

struct Entry {
  std::string name;  // empty where it is the only one, and programs need no name
  Graph graph;
};

// A tensor that entries share may be unpacked for each of them: their number keeps a small file from filling any memory.
inline constexpr size_t kMostEntries = 16;

// Throws Error(invalid_argument): there are none or too many, or a name is given twice or missing.
void check_entries(std::span<const Entry> entries);

// "'image', 'text'": of entries, or of pointers to what has a name.
template <typename Entries>
std::string names_of(const Entries& entries) {
  std::string names;
  for (const auto& entry : entries) {
    names += names.empty() ? "'" : ", '";
    if constexpr (requires { entry.name; }) names += entry.name;
    else names += entry->name;
    names += "'";
  }
  return names;
}

// Makes tensors of different graphs that are equal, element by element, one tensor in memory. Tensors of one graph stay apart, but
// for those of repeated layers (repeats.h), which are one already.
void share_tensors(std::span<Graph* const> graphs);

}  // namespace niwaki
