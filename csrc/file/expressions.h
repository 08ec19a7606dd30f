// Expressions of sizes as a file holds them: the operation first, then what it works on.
#pragma once

#include <cstddef>

#include "file/words.h"
#include "graph/dim.h"

namespace niwaki {

void write_expression(const Dim& dim, WordWriter& out);

// Of the first `sizes` free sizes. Refuses an expression that is nested too deeply or has too many operations. Throws Error(invalid_argument), from Dim, for constants
// whose result is none.
Dim read_expression(WordReader& in, size_t sizes);

}  // namespace niwaki
