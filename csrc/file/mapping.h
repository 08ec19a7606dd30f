// The bytes of a file, mapped where the system can, read otherwise.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace niwaki {

struct FileBytes {
  std::shared_ptr<const uint8_t> data;  // unmaps, or frees, with its last copy; 64-byte aligned
  size_t size = 0;
  bool mapped = false;

  std::span<const uint8_t> span() const { return {data.get(), size}; }

  // Gives the memory of these bytes back, where they are mapped: whoever reads them again reads them from the file.
  void unload(std::span<const uint8_t> bytes) const;
};

// Throws Error(invalid_file) for a file that is missing, unreadable, empty or no regular file.
FileBytes open_bytes(const std::string& path);

FileBytes copy_bytes(std::span<const uint8_t> bytes);

// Throws Error(invalid_file): "<path>: <what>".
[[noreturn]] void refuse_file(const std::string& path, const std::string& what);
[[noreturn]] void refuse_corrupt(const std::string& path, const std::string& what);  // the same of what a file says of itself

}  // namespace niwaki
