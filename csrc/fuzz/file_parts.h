// A file taken apart, and put together again with sizes and checksums that are right: what a mutation has to do so that it gets past
// the reader's first checks. Knows the layout of docs/file-format.md and nothing of the core, whose bugs it should not share.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace niwaki::fuzz {

using Bytes = std::vector<uint8_t>;

struct FileParts {
  struct Stored {
    Bytes row;  // of the table, up to the shape: type, form, sizes
    Bytes payload;
  };
  uint32_t version = 3;  // 2 to 5
  Bytes graph;
  std::vector<Stored> tensors;
};

// Nothing for what is no file of version 2 to 5, or not laid out like one.
std::optional<FileParts> take_apart(std::span<const uint8_t> file);
Bytes put_together(const FileParts& parts);

void put_varint(Bytes& bytes, uint64_t value);

// Makes the checksums of a file of any version right where it lies, as far as its sizes make sense.
void seal(Bytes& file);

}  // namespace niwaki::fuzz
