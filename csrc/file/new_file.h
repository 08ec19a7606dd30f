// A file that appears complete, by rename, or not at all.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <span>
#include <string>

namespace niwaki {

// Appears at `path` when it is committed; until then, and for good if it never is, nothing is there. Throws Error(invalid_file),
// naming the path.
class NewFile {
 public:
  explicit NewFile(const std::string& path);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  void write(std::span<const uint8_t> bytes);
  void fill_to(uint64_t offset);  // with zeros
  void commit();

 private:
  [[noreturn]] void fail(int error);
  void sync_folder();

  std::string path_;
  std::filesystem::path temporary_;
  std::FILE* file_ = nullptr;
  uint64_t written_ = 0;
  bool committed_ = false;
};

}  // namespace niwaki
