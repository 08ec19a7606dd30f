// Kernels of recurrent layers, and their weights as these read them.
#include <algorithm>

#include "kernels/common/select.h"
#include "kernels/recurrent/recurrent.h"

namespace niwaki {

#define NIWAKI_RECURRENT(name, isa)        \
  namespace recurrent_##name {             \
    void lstm(const GateBlock& block);     \
    void gru(const GateBlock& block);      \
    void rnn_tanh(const GateBlock& block); \
    void rnn_relu(const GateBlock& block); \
  }
#include "kernels/recurrent/kernels.inc"
#undef NIWAKI_RECURRENT

std::span<const RecurrentKernel> recurrent_kernels() {
  static constexpr RecurrentKernel kernels[] = {
#define NIWAKI_RECURRENT(name, isa) \
  {#name, isa, recurrent_##name::lstm, recurrent_##name::gru, recurrent_##name::rnn_tanh, recurrent_##name::rnn_relu},
#include "kernels/recurrent/kernels.inc"
#undef NIWAKI_RECURRENT
  };
  return kernels;
}

const RecurrentKernel& select_recurrent(Isa isa) { return select_kernel(recurrent_kernels(), isa); }

namespace {

int64_t gates_of(RecurrentKind kind) { return kind == RecurrentKind::lstm ? 4 : kind == RecurrentKind::gru ? 3 : 1; }

Buffer zeros(int64_t floats) {
  Buffer buffer(static_cast<std::size_t>(floats) * sizeof(float));
  std::fill_n(buffer.as<float>(), floats, 0.0f);
  return buffer;
}

void (*gate_of(const RecurrentKernel& kernel, RecurrentKind kind))(const GateBlock&) {
  switch (kind) {
    case RecurrentKind::lstm: return kernel.lstm;
    case RecurrentKind::gru: return kernel.gru;
    case RecurrentKind::rnn_tanh: return kernel.rnn_tanh;
    case RecurrentKind::rnn_relu: break;
  }
  return kernel.rnn_relu;
}

}  // namespace

Recurrent::Recurrent(const RecurrentParams& params, std::span<const RecurrentWeights> weights, Isa isa)
    : params_(params),
      gates_(gates_of(params.kind)),
      kernel_(select_recurrent(isa)),
      products_(select_matmul(isa)),
      gate_(gate_of(kernel_, params.kind)) {
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const bool first = static_cast<int64_t>(i) < params.directions;
    packed_.push_back(pack(weights[i], first ? params.inputs : params.directions * params.width()));
  }
}

std::string Recurrent::kernel() const { return std::string("recurrent_") + kernel_.name; }

int64_t Recurrent::bytes() const {
  int64_t bytes = 0;
  for (const Packed& packed : packed_) bytes += packed.bytes();
  return bytes;
}

// weight: [gates * hidden, depth].
Buffer Recurrent::pack_columns(const float* weight, int64_t depth) const {
  Buffer buffer = zeros(blocks() * depth * columns());
  for (int64_t gate = 0; gate < gates_; ++gate)
    for (int64_t unit = 0; unit < params_.hidden; ++unit) {
      const float* from = weight + (gate * params_.hidden + unit) * depth;
      float* to = buffer.as<float>() + unit / kUnits * depth * columns() + gate * kUnits + unit % kUnits;
      for (int64_t k = 0; k < depth; ++k) to[k * columns()] = from[k];
    }
  return buffer;
}

void Recurrent::pack_biases(const RecurrentWeights& weights, Packed& packed) const {
  packed.bias = zeros(blocks() * columns());
  if (params_.kind == RecurrentKind::gru) packed.hidden_bias = zeros(blocks() * kUnits);
  if (weights.b_ih == nullptr) return;
  for (int64_t gate = 0; gate < gates_; ++gate)
    for (int64_t unit = 0; unit < params_.hidden; ++unit) {
      const float input = weights.b_ih[gate * params_.hidden + unit], hidden = weights.b_hh[gate * params_.hidden + unit];
      const bool apart = params_.kind == RecurrentKind::gru && gate == 2;
      packed.bias.as<float>()[(unit / kUnits * gates_ + gate) * kUnits + unit % kUnits] = apart ? input : input + hidden;
      if (apart) packed.hidden_bias.as<float>()[unit] = hidden;
    }
}

Recurrent::Packed Recurrent::pack(const RecurrentWeights& weights, int64_t inputs) const {
  Packed packed{};
  packed.inputs = inputs;
  packed.w_ih = pack_columns(weights.w_ih, inputs);
  packed.w_hh = pack_columns(weights.w_hh, params_.width());
  pack_biases(weights, packed);
  if (params_.projection == 0) return packed;
  const int64_t step = products_.columns;
  packed.w_hr = zeros(round_up(params_.projection, step) * params_.hidden);
  for (int64_t column = 0; column < params_.projection; column += step) {
    products_.pack_transposed({.from = weights.w_hr + column * params_.hidden,
                               .stride = params_.hidden,
                               .panel = packed.w_hr.as<float>() + column * params_.hidden,
                               .panel_stride = step,
                               .depth = params_.hidden,
                               .columns = std::min(step, params_.projection - column)});
  }
  return packed;
}

}  // namespace niwaki
