// Kernels of recurrent layers, and their weights as these read them.
#include <algorithm>
#include <numeric>

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

Recurrent::Recurrent(const RecurrentParams& params, std::span<const RecurrentWeights> weights, Isa isa, ConvKind kind)
    : params_(params), gates_(gates_of(params.kind)), kernel_(select_recurrent(isa)), gate_(gate_of(kernel_, params.kind)) {
  for (const RecurrentWeights& each : weights) packed_.push_back(pack(each, isa, kind));
}

std::string Recurrent::kernel() const { return std::string(sparse() ? "recurrent_sparse_" : "recurrent_") + kernel_.name; }

bool Recurrent::sparse() const {
  return std::any_of(packed_.begin(), packed_.end(), [](const Packed& packed) { return packed.hidden->sparse(); });
}

int64_t Recurrent::bytes() const {
  int64_t bytes = 0;
  for (const Packed& packed : packed_)
    for (const auto* product : {&packed.inputs, &packed.hidden, &packed.projection}) bytes += *product ? (*product)->bytes() : 0;
  return bytes;
}

Recurrent::Packed Recurrent::pack(const RecurrentWeights& weights, Isa isa, ConvKind kind) const {
  std::vector<int64_t> order;
  for (int64_t block = 0; block < blocks(); ++block)
    for (int64_t gate = 0; gate < gates_; ++gate)
      for (int64_t unit = block * kUnits; unit < (block + 1) * kUnits; ++unit)
        order.push_back(unit < params_.hidden ? gate * params_.hidden + unit : -1);
  const auto bias = [&](const float* values) {
    return values == nullptr ? std::vector<float>{} : std::vector<float>(values, values + gates_ * params_.hidden);
  };
  Packed packed;
  packed.inputs = make_row_product(weights.w_ih, bias(weights.b_ih), order, params_.dynamic, kRowsAhead, isa, kind);
  packed.hidden = make_row_product(weights.w_hh, bias(weights.b_hh), order, params_.dynamic, 1, isa, kind);
  if (params_.projection == 0) return packed;
  order.resize(static_cast<std::size_t>(params_.projection));
  std::iota(order.begin(), order.end(), 0);
  packed.projection = make_row_product(weights.w_hr, {}, order, params_.dynamic, 1, isa, kind);
  return packed;
}

}  // namespace niwaki
