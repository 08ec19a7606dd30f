// A first layer with stride 2 on the phases of its image.
//
// A 7 x 7 convolution with stride 2 over three channels leaves one lane in four empty and reads its input in steps of two. Over the
// four phases of the image (even and odd rows times even and odd columns: space to depth) it is a 4 x 4 convolution with stride 1
// over twelve channels: the same products and sums, so the same result to the last bit, in fewer rows of a panel that contiguous
// loads fill. `quantize` writes the phases.
#pragma once

#include "graph/graph.h"

namespace niwaki {

// Rewrites `conv`, whose input `quantize` makes for nothing else, and `quantize`, where that is fewer rows; returns whether it did. quantize
// then has the attribute `phases`: see quantize_phases; conv the attribute `weights`: how many it had before. Only fused graphs have these.
bool split_into_phases(Node& quantize, Node& conv);

// The weights of a layer before any rewriting: what its multiply-accumulates and its zeros are counted by.
int64_t original_weights(const Node& node);

}  // namespace niwaki
