// What must hold of any bytes whatsoever, given as a file. The fuzz targets abort where one of these has something to say; the tests
// run them over the files that once were a problem.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/arch.h"

namespace niwaki::fuzz {

// The memory that reading may take, the copy of the bytes included: ten times the file, the reader's room for small files (8 MiB), and what
// messages take.
constexpr size_t most_for_reading(size_t file) { return 10 * file + (size_t{8} << 20) + (size_t{64} << 10); }
inline constexpr double kMostSeconds = 1.0;  // of processor time, for each of the actions of a check: reading, packing, a run

// Reads the bytes and unpacks their tensors: an Error or a graph, within the memory and the time.
std::string check_reading(std::span<const uint8_t> bytes);

// Runs what the reader accepts, packed for each of these instruction sets, on numbers of all kinds: an Error, or the same answer to the last
// bit. Networks that are too large for the budget are packed but not run; memory beyond it is refused to them.
std::string check_running(std::span<const uint8_t> bytes, std::span<const Isa> isas = supported_isas());

// What the check that is on is about: "planning for avx2 with inputs of 1 x 3 x 9 x 9;". For those who have to stop it.
const char* doing();

}  // namespace niwaki::fuzz
