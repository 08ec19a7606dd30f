#include "file/mapping.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/memory.h"
#include "base/paths.h"
#include "base/status.h"

#if defined(__unix__) || defined(__APPLE__)
#define NIWAKI_POSIX 1
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace niwaki {
namespace {

FileBytes read_bytes(const std::string& path, size_t size) {
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(open_file(to_path(path), "rb"), std::fclose);
  if (!file) refuse_file(path, std::string("cannot be opened: ") + std::strerror(errno) + ".");
  auto buffer = std::make_shared<Buffer>(size);
  if (std::fread(buffer->data(), 1, size, file.get()) != size) refuse_file(path, "cannot be read to its end.");
  return {std::shared_ptr<const uint8_t>(buffer, buffer->data()), size};
}

#ifdef NIWAKI_POSIX
// Nothing where the file cannot be mapped but may still be read.
FileBytes map_bytes(const std::string& path, size_t size) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) refuse_file(path, std::string("cannot be opened: ") + std::strerror(errno) + ".");
  struct stat info{};
  void* data = MAP_FAILED;
  // The size is asked for again: the file may have shrunk since.
  if (fstat(file, &info) == 0 && static_cast<size_t>(info.st_size) == size)
    data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  close(file);
  if (data == MAP_FAILED) return {};
  return {std::shared_ptr<const uint8_t>(static_cast<const uint8_t*>(data), [data, size](const uint8_t*) { munmap(data, size); }),
          size, true};
}
#endif

}  // namespace

void FileBytes::unload([[maybe_unused]] std::span<const uint8_t> bytes) const {
#ifdef NIWAKI_POSIX
  if (!mapped) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE)), begin = reinterpret_cast<uintptr_t>(bytes.data());
  const uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes.size()) / page * page;
  // The pages are the file's own, never written: nothing is lost, and where the system refuses nothing is gained.
  if (first < last) (void)madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
#endif
}

FileBytes copy_bytes(std::span<const uint8_t> bytes) {
  auto buffer = std::make_shared<Buffer>(bytes.size());
  if (!bytes.empty()) std::memcpy(buffer->data(), bytes.data(), bytes.size());
  return {std::shared_ptr<const uint8_t>(buffer, buffer->data()), bytes.size()};
}

void refuse_file(const std::string& path, const std::string& what) { throw Error(Status::invalid_file, path + ": " + what); }

void refuse_corrupt(const std::string& path, const std::string& what) {
  refuse_file(path, "the file is corrupt (" + what + "); get it anew or save the network again.");
}

FileBytes open_bytes(const std::string& path) {
  if (path.empty()) throw Error(Status::invalid_file, "The path of the file is empty; name a .niwaki file.");
  std::error_code error;
  const std::filesystem::path where = to_path(path);
  const auto status = std::filesystem::status(where, error);
  if (status.type() == std::filesystem::file_type::not_found) refuse_file(path, "there is no such file.");
  if (error) refuse_file(path, "cannot be opened: " + error.message() + ".");
  if (!std::filesystem::is_regular_file(status)) refuse_file(path, "is not a regular file.");
  const auto size = std::filesystem::file_size(where, error);
  if (error) refuse_file(path, "cannot be opened: " + error.message() + ".");
  if (size == 0) refuse_file(path, "the file is empty.");
#ifdef NIWAKI_POSIX
  if (FileBytes mapped = map_bytes(path, size); mapped.data) return mapped;
#endif
  return read_bytes(path, size);
}

}  // namespace niwaki
