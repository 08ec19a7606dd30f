// LSTM, GRU and RNN over all steps of a sequence, with torch's gates.
//
// A gate's sum is the one of the inputs, with b_ih, plus the one of the hidden state, with b_hh; a GRU's new gate is tanh(i + r * h) of the two,
// and its state is n + z * (h - n). A projection is a product without a bias. The products are those of float32 (each sum begins as its bias
// and is then in the order of the inputs: kernels/matmul), or, with int8 weights, those of dynamic linear layers: each row of inputs and of
// hidden states is quantized by its own range (kernels/dynamic_linear).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/arch.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/recurrent/params.h"
#include "kernels/recurrent/row_product.h"

namespace niwaki {

struct RecurrentKernel {
  const char* name;
  Isa isa;
  void (*lstm)(const GateBlock& block);
  void (*gru)(const GateBlock& block);
  void (*rnn_tanh)(const GateBlock& block);
  void (*rnn_relu)(const GateBlock& block);
};

std::span<const RecurrentKernel> recurrent_kernels();
const RecurrentKernel& select_recurrent(Isa isa);

enum class RecurrentKind : uint8_t { lstm, gru, rnn_tanh, rnn_relu };

struct RecurrentParams {
  RecurrentKind kind;
  int64_t inputs, hidden;
  int64_t projection;  // 0: none
  int64_t layers, directions;
  bool batch_first;
  bool dynamic = false;  // weights are int8, and multiply rows that are quantized by their own ranges
  int64_t width() const { return projection > 0 ? projection : hidden; }  // of what a direction gives
};

// Of one layer and direction, as torch has them.
struct RecurrentWeights {
  RowWeights w_ih;           // [gates * hidden, inputs of the layer]
  RowWeights w_hh;           // [gates * hidden, width]
  const float *b_ih, *b_hh;  // [gates * hidden], null where there is none
  RowWeights w_hr;           // [projection, hidden], where there is one
};

struct RecurrentValues {
  const float* x;        // [steps, batch, inputs], or [batch, steps, inputs]
  const float *h0, *c0;  // [layers * directions, batch, width], [..., hidden]; null: zeros
  float *y, *h_n, *c_n;  // y [steps, batch, directions * width], or [batch, steps, ...]; c_n of an LSTM alone
  int64_t steps, batch;  // at least 1
  // [batch], each 1 to steps: sequences end there, backwards they begin there. Behind it y is 0; h_n and c_n are those of the end. Each sequence
  // gets to the bit what it would get alone. Null: all are `steps` long.
  const int64_t* lengths = nullptr;
};

// The layers, packed. Immutable: sessions and threads share it.
class Recurrent {
 public:
  // weights: layer by layer, of each layer the directions. kind: forces the kernels of products of int8 weights, changes no result.
  Recurrent(const RecurrentParams& params, std::span<const RecurrentWeights> weights, Isa isa,
            ConvKind kind = ConvKind::automatic);

  std::string kernel() const;
  bool sparse() const;  // whether the zeros of some weights of hidden states cost nothing
  int64_t bytes() const;

  // Bytes for each thread. lengths: whether these are given.
  int64_t scratch_bytes(int64_t steps, int64_t batch, int threads, bool lengths = false) const;

  // scratch: pool.threads() times scratch_bytes, 64-byte aligned.
  void run(const RecurrentValues& values, uint8_t* scratch, ThreadPool& pool) const;

 private:
  friend class RecurrentRun;

  // Rows of inputs, steps times batch, whose products are made at once: weights are then read once for all of them. More of them would drive
  // the weights of hidden states out of the L2 cache.
  static constexpr int64_t kRowsAhead = 64;

  // Of one layer and direction. Outputs of the products are [block of units][gate][unit of the block]; those of units that don't exist are 0.
  struct Packed {
    std::unique_ptr<RowProduct> inputs, hidden, projection;
  };
  Packed pack(const RecurrentWeights& weights, Isa isa, ConvKind kind) const;

  int64_t blocks() const { return div_up(params_.hidden, kUnits); }
  int64_t columns() const { return gates_ * kUnits; }  // of a block
  int64_t sums() const { return blocks() * columns(); }

  RecurrentParams params_;
  int64_t gates_;
  const RecurrentKernel& kernel_;
  void (*gate_)(const GateBlock& block);
  std::vector<Packed> packed_;
};

}  // namespace niwaki
