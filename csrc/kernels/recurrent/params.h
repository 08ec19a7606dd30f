// What kernels of recurrent layers take. Apart from recurrent.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// Hidden units that go together: their gates lie beside each other.
constexpr int kUnits = 16;

// Some units, of every row of a batch, in one step.
struct GateBlock {
  const float* sums;         // of inputs, with their bias: [rows][stride], of which the first [gates][kUnits] are read
  const float* hidden_sums;  // of the hidden state, with its bias: the same
  int64_t stride;
  int64_t rows, units;  // units that exist: 1 to kUnits
  const float* before;  // GRU: the hidden state before, [rows][before_stride]
  float* cell;          // LSTM: the cell state, [rows][cell_stride], before and after
  float* out;           // the hidden state after, [rows][out_stride]
  int64_t before_stride, cell_stride, out_stride;
};

}  // namespace niwaki
