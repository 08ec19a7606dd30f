// LSTM, GRU and RNN of float32 over all steps of a sequence, with torch's gates.
//
// The sum of a gate begins as its bias (b_ih + b_hh, rounded); then come the inputs and then the hidden state, in their order: sum = sum +
// weight * x, the product and the sum both rounded. A GRU's new gate is tanh(i + r * h): i begins as b_ih and has the inputs, h begins as b_hh
// and has the hidden state; and its state is n + z * (h - n). A projection is a sum from 0 over the hidden units.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/arch.h"
#include "base/memory.h"
#include "base/thread_pool.h"
#include "kernels/matmul/matmul.h"
#include "kernels/recurrent/params.h"

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
  int64_t width() const { return projection > 0 ? projection : hidden; }  // of what a direction gives
};

// Of one layer and direction, as torch has them; null where there is none.
struct RecurrentWeights {
  const float* w_ih;         // [gates * hidden, inputs of the layer]
  const float* w_hh;         // [gates * hidden, width]
  const float *b_ih, *b_hh;  // [gates * hidden]
  const float* w_hr;         // [projection, hidden]
};

struct RecurrentValues {
  const float* x;        // [steps, batch, inputs], or [batch, steps, inputs]
  const float *h0, *c0;  // [layers * directions, batch, width], [..., hidden]; null: zeros
  float *y, *h_n, *c_n;  // y [steps, batch, directions * width], or [batch, steps, ...]; c_n of an LSTM alone
  int64_t steps, batch;  // at least 1
};

// The layers, packed. Immutable: sessions and threads share it.
class Recurrent {
 public:
  // weights: layer by layer, of each layer the directions.
  Recurrent(const RecurrentParams& params, std::span<const RecurrentWeights> weights, Isa isa);

  std::string kernel() const;
  int64_t bytes() const;

  // Bytes for each thread.
  int64_t scratch_bytes(int64_t steps, int64_t batch, int threads) const;

  // scratch: pool.threads() times scratch_bytes, 64-byte aligned.
  void run(const RecurrentValues& values, uint8_t* scratch, ThreadPool& pool) const;

 private:
  friend class RecurrentRun;

  // Of one layer and direction. Columns of the products are [block of units][gate][unit of the block]; units that don't exist have weights of 0.
  struct Packed {
    int64_t inputs;
    Buffer w_ih;         // [block][inputs][gates][kUnits]
    Buffer w_hh;         // [block][width][gates][kUnits]
    Buffer bias;         // [block][gates][kUnits]
    Buffer hidden_bias;  // GRU: [block][kUnits]
    Buffer w_hr;         // [block of columns][hidden][columns]
    int64_t bytes() const {
      return static_cast<int64_t>(w_ih.size() + w_hh.size() + bias.size() + hidden_bias.size() + w_hr.size());
    }
  };
  Buffer pack_columns(const float* weight, int64_t depth) const;
  void pack_biases(const RecurrentWeights& weights, Packed& packed) const;
  Packed pack(const RecurrentWeights& weights, int64_t inputs) const;

  int64_t blocks() const { return div_up(params_.hidden, kUnits); }
  int64_t columns() const { return gates_ * kUnits; }  // of a block

  RecurrentParams params_;
  int64_t gates_;
  const RecurrentKernel& kernel_;
  const MatmulKernel& products_;
  void (*gate_)(const GateBlock& block);
  std::vector<Packed> packed_;
};

}  // namespace niwaki
