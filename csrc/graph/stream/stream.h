// A network for whole signals made into one for pieces of them, which keeps what it needs of the past as states.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "graph/graph.h"

namespace niwaki {

struct StreamOptions {
  std::string size;                       // the free size along time
  int64_t piece = 0;                      // of that size, what each run gets: 1 or more
  std::map<std::string, int64_t> others;  // what the other free sizes shall be
};

// The pieces' outputs, one after the other, are to the bit what `graph` makes of the whole signal, whose length is that of some pieces; what
// it gives once for a signal (the last hidden state) is that of the signal so far. Windows along time (convolutions, pools) keep the elements
// before a piece, recurrent layers their hidden state and cells, running sums their totals. All sizes of the result are constants.
//
// Throws Error (invalid_argument) for options that do not fit, and, naming the layer, for what needs more of a signal than what was there
// before: windows that look ahead, sums over the whole of it, layers that read it backwards, attention.
Graph stream(const Graph& graph, const StreamOptions& options);

}  // namespace niwaki
