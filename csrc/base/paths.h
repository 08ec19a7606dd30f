// Paths are UTF-8, on every system.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>

namespace niwaki {

std::filesystem::path to_path(const std::string& utf8);

std::FILE* open_file(const std::filesystem::path& path, const char* mode);  // as fopen: null and errno where it fails

}  // namespace niwaki
