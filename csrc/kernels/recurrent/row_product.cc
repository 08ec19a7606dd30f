#include "kernels/recurrent/row_product.h"

#include <algorithm>
#include <limits>

#include "base/memory.h"
#include "kernels/dynamic_linear/dynamic_linear.h"
#include "kernels/matmul/matmul.h"

namespace niwaki {
namespace {

// Multiply-accumulates that are worth another thread.
constexpr int64_t kWorth = 1 << 16;

class FloatProduct : public RowProduct {
 public:
  // weight: [outputs, inputs]
  FloatProduct(const std::vector<float>& weight, const std::vector<float>& bias, int64_t inputs, Isa isa)
      : products_(select_matmul(isa)),
        inputs_(inputs),
        outputs_(static_cast<int64_t>(bias.size())),
        weight_(static_cast<std::size_t>(round_up(outputs_, products_.columns) * inputs) * sizeof(float)),
        bias_(bias) {
    for (int64_t column = 0; column < outputs_; column += products_.columns) {
      products_.pack_transposed({.from = weight.data() + column * inputs,
                                 .stride = inputs,
                                 .panel = weight_.as<float>() + column * inputs,
                                 .panel_stride = products_.columns,
                                 .depth = inputs,
                                 .columns = std::min(products_.columns, outputs_ - column)});
    }
  }

  int64_t inputs() const override { return inputs_; }
  int64_t outputs() const override { return outputs_; }
  int64_t bytes() const override { return static_cast<int64_t>(weight_.size() + bias_.size() * sizeof(float)); }
  int64_t scratch_bytes(int64_t, int) const override { return 0; }
  int64_t most_scratch_bytes(int64_t, int) const override { return 0; }

  void run(const float* in, float* out, int64_t rows, uint8_t*, ThreadPool& pool) const override {
    const int64_t blocks = div_up(outputs_, products_.columns);
    const int64_t worth = 1 + outputs_ * inputs_ * rows / kWorth;
    const int64_t tasks = std::min({blocks, worth, int64_t{pool.threads()}});
    pool.run(tasks, [&](int64_t task, int) {
      for (int64_t block = blocks * task / tasks; block < blocks * (task + 1) / tasks; ++block) {
        const int64_t column = block * products_.columns, columns = std::min(products_.columns, outputs_ - column);
        for (int64_t row = 0; row < rows; ++row) std::copy_n(bias_.data() + column, columns, out + row * outputs_ + column);
        products_.multiply({.a = in,
                            .b = weight_.as<float>() + column * inputs_,
                            .out = out + column,
                            .a_stride = inputs_,
                            .b_stride = products_.columns,
                            .out_stride = outputs_,
                            .rows = rows,
                            .depth = inputs_,
                            .columns = columns,
                            .add = true});
      }
    });
  }

 private:
  const MatmulKernel& products_;
  int64_t inputs_, outputs_;
  Buffer weight_;  // [block of columns][inputs][columns]
  std::vector<float> bias_;
};

class DynamicProduct : public RowProduct {
 public:
  DynamicProduct(const DynamicLinearWeights& weights, int64_t expected_rows, Isa isa, ConvKind kind)
      : inputs_(weights.inputs), outputs_(weights.outputs), layer_(weights, isa, kind, expected_rows) {}

  int64_t inputs() const override { return inputs_; }
  int64_t outputs() const override { return outputs_; }
  int64_t bytes() const override { return layer_.bytes(); }
  bool sparse() const override { return layer_.product().sparse(); }
  int64_t scratch_bytes(int64_t rows, int threads) const override { return layer_.scratch_bytes(rows, threads); }
  int64_t most_scratch_bytes(int64_t rows, int threads) const override { return layer_.most_scratch_bytes(rows, threads); }
  void run(const float* in, float* out, int64_t rows, uint8_t* scratch, ThreadPool& pool) const override {
    layer_.run(in, out, rows, scratch, pool);
  }

 private:
  int64_t inputs_, outputs_;
  DynamicLinear layer_;
};

}  // namespace

std::unique_ptr<RowProduct> make_row_product(const RowWeights& weights, const std::vector<float>& bias,
                                             const std::vector<int64_t>& order, bool dynamic, int64_t expected_rows, Isa isa,
                                             ConvKind kind) {
  const std::size_t outputs = order.size();
  const auto inputs = static_cast<std::size_t>(weights.inputs);
  std::vector<float> ordered(outputs, 0.0f), scale(outputs, 0.0f), floats;
  std::vector<int8_t> bytes;
  (dynamic ? static_cast<void>(bytes.resize(outputs * inputs)) : floats.resize(outputs * inputs));
  for (std::size_t o = 0; o < outputs; ++o) {
    if (order[o] < 0) continue;
    const auto row = static_cast<std::size_t>(order[o]);
    if (!bias.empty()) ordered[o] = bias[row];
    if (weights.bytes != nullptr) scale[o] = weights.scale[row];
    for (std::size_t i = 0; i < inputs; ++i) {
      const std::size_t from = row * inputs + i, to = o * inputs + i;
      if (dynamic) bytes[to] = weights.bytes[from];
      else floats[to] = weights.bytes ? static_cast<float>(weights.bytes[from]) * scale[o] : weights.floats[from];
    }
  }
  if (!dynamic) return std::make_unique<FloatProduct>(floats, ordered, weights.inputs, isa);
  const DynamicLinearWeights packed{bytes.data(), scale.data(), ordered.data(), static_cast<int32_t>(outputs),
                                    static_cast<int32_t>(inputs)};
  return std::make_unique<DynamicProduct>(packed, expected_rows, isa, kind);
}

}  // namespace niwaki
