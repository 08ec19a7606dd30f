#include "base/paths.h"

namespace niwaki {

#ifdef _WIN32  // untested

// Windows takes narrow names for ones in a code page of its own.
std::filesystem::path to_path(const std::string& utf8) { return std::filesystem::path(std::u8string(utf8.begin(), utf8.end())); }

std::FILE* open_file(const std::filesystem::path& path, const char* mode) {
  return _wfopen(path.c_str(), std::filesystem::path(mode).c_str());
}

#else

std::filesystem::path to_path(const std::string& utf8) { return utf8; }

std::FILE* open_file(const std::filesystem::path& path, const char* mode) { return std::fopen(path.c_str(), mode); }

#endif

}  // namespace niwaki
