#include "file/new_file.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "base/paths.h"
#include "file/mapping.h"

#if defined(__unix__) || defined(__APPLE__)
#define NIWAKI_POSIX 1
#include <fcntl.h>
#include <unistd.h>
#endif

namespace niwaki {

NewFile::NewFile(const std::string& path) : path_(path) {
  static std::atomic<uint64_t> counter{0};
#ifdef NIWAKI_POSIX
  const auto process = static_cast<long long>(getpid());
#else
  const long long process = 0;
#endif
  temporary_ = to_path(path + ".part-" + std::to_string(process) + "-" + std::to_string(counter++));
  file_ = open_file(temporary_, "wbx");
  if (file_ == nullptr) fail(errno);
}

NewFile::~NewFile() {
  if (file_ != nullptr) std::fclose(file_);
  if (committed_) return;
  std::error_code ignored;
  std::filesystem::remove(temporary_, ignored);
}

void NewFile::write(std::span<const uint8_t> bytes) {
  if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file_) != bytes.size()) fail(errno);
  written_ += bytes.size();
}

void NewFile::fill_to(uint64_t offset) {
  static constexpr uint8_t kZeros[64] = {};
  while (written_ < offset) write(std::span(kZeros).first(std::min<uint64_t>(sizeof(kZeros), offset - written_)));
}

void NewFile::commit() {
  if (std::fflush(file_) != 0) fail(errno);
#ifdef NIWAKI_POSIX
  if (fsync(fileno(file_)) != 0) fail(errno);
#endif
  std::FILE* file = file_;
  file_ = nullptr;
  if (std::fclose(file) != 0) fail(errno);
  std::error_code error;
  std::filesystem::rename(temporary_, to_path(path_), error);
  if (error) refuse_file(path_, "cannot be written: " + error.message() + ".");
  committed_ = true;
  sync_folder();
}

void NewFile::fail(int error) { refuse_file(path_, std::string("cannot be written: ") + std::strerror(error) + "."); }

// So that the new name survives a power cut, too. The file is complete either way, and some file systems refuse this.
void NewFile::sync_folder() {
#ifdef NIWAKI_POSIX
  const auto folder = std::filesystem::path(path_).parent_path();
  const int handle = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_CLOEXEC);
  if (handle < 0) return;
  (void)fsync(handle);
  close(handle);
#endif
}

}  // namespace niwaki
