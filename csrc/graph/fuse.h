// Fusion: the same for every instruction set, before kernels are chosen, so that all of them compute the same.
//
//   identity      what leaves its input as it is goes away: a clamp to 0..255; a reshape, permute, expand or cast to what is there; a quantize
//                 of a dequantize with the same scale and zero point
//   moves         a reshape of a reshape is one reshape, a permute of a permute one permute
//   clamp         goes into the operator before it, where that has bounds (or a table) and nothing else reads its result
//   add           goes into the conv2d (not depthwise) or linear that makes the later of its inputs, if nothing else reads that
//                 and it has no bounds of its own; the other input becomes the residual
//   after         a table goes into the conv2d or linear before it, a prelu into the conv2d, if nothing else reads that (fused_parts.h)
//   places        a cast to byte, int8 or int32 goes into the arg_reduce before it, if nothing else reads what that makes
//   phases        a first conv2d with stride 2 works on the four phases of the image, which its quantize writes (phases.h)
//   product       a mul by a number for each channel goes into the 1 x 1 conv2d after it, if nothing else reads that (fused_parts.h)
//   heads         permutations that bring heads in front of tokens, and back, go into the attention between them (heads.h), also where queries, keys
//                 and values are parts of one value, and where the result is quantized before it is moved back
//   unused        what no output and no state depends on goes away
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace niwaki {

struct FusedGraph {
  Graph graph;                                  // values keep their numbers; those that nobody makes any more have node -2
  std::vector<std::vector<std::string>> fused;  // for each node, the names of the nodes that it took over
};

FusedGraph fuse(Graph graph);

}  // namespace niwaki
