// What a layer costs with dense and with sparse kernels: the model that chooses between them. docs/performance.md tells where its numbers
// come from.
#pragma once

#include <cstdint>

#include "kernels/conv/conv.h"
#include "kernels/conv/kernel.h"
#include "kernels/conv/sparse_lists.h"

namespace niwaki {

struct ConvCost {
  // Cycles (on Arm: instructions) for all outputs, of one image, or of one vector of pixels where no size is expected.
  double dense, sparse;
  // Of a linear layer, whose outputs may lie along the vectors, and of any layer where there is a matrix unit; of a single pixel where none are
  // expected.
  double wide;
  double pick;    // of a sparse linear layer with few rows; infinite for others
  double filled;  // share of the blocks that are not zero
};

// weight_bits: 4 where a kernel with outputs along the vectors would hold the weights as numbers of 4 bits, else 8.
ConvCost conv_cost(const ConvParams& params, const int8_t* weight, const ConvKernels& kernels, const SparseCut& cut,
                   int32_t weight_bits = 8);

}  // namespace niwaki
