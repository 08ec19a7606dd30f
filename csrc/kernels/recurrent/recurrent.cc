#include "kernels/recurrent/recurrent.h"

#include <algorithm>
#include <cstring>

namespace niwaki {
namespace {

// Rows of inputs, steps times batch, whose products are made at once: weights are then read from memory once for all of them.
constexpr int64_t kRowsAhead = 256;
// Multiply-accumulates that are worth another thread.
constexpr int64_t kWorth = 1 << 16;

// A sequence of rows in memory: where row `row` of step `step` begins, in floats.
struct Sequence {
  float* data;
  int64_t step_stride, row_stride;
  float* at(int64_t step, int64_t row) const { return data + step * step_stride + row * row_stride; }
};

Sequence sequence_of(float* data, const RecurrentValues& values, int64_t width, bool batch_first) {
  if (batch_first) return {data, width, values.steps * width};
  return {data, values.batch * width, width};
}

}  // namespace

// One run of all layers. The scratch of the threads is one piece of memory for all of them.
class RecurrentRun {
 public:
  RecurrentRun(const Recurrent& layers, int64_t steps, int64_t batch)
      : layers_(layers),
        params_(layers.params_),
        steps_(steps),
        batch_(batch),
        ahead_(std::clamp<int64_t>(kRowsAhead / batch, 1, steps)) {
    const int64_t blocks = layers.blocks() * params_.directions;
    take(sums_at_, blocks * ahead_ * batch * layers.columns());
    if (params_.kind == RecurrentKind::gru) take(hidden_sums_at_, blocks * batch * kUnits);
    if (params_.projection > 0) take(units_at_, params_.directions * batch * params_.hidden);
    take(zeros_at_, batch * params_.width());
    const int64_t between = steps * batch * params_.directions * params_.width();
    if (params_.layers > 1) take(between_at_[0], between);
    if (params_.layers > 2) take(between_at_[1], between);
  }

  int64_t bytes() const { return floats_ * static_cast<int64_t>(sizeof(float)); }

  void run(const RecurrentValues& values, float* memory, ThreadPool& pool) {
    memory_ = memory;
    pool_ = &pool;
    values_ = &values;
    std::fill_n(memory + zeros_at_, batch_ * params_.width(), 0.0f);
    const int64_t width = params_.directions * params_.width();
    Sequence in = sequence_of(const_cast<float*>(values.x), values, params_.inputs, params_.batch_first);  // is only read
    for (int64_t layer = 0; layer < params_.layers; ++layer) {
      const bool last = layer + 1 == params_.layers;
      const Sequence out = last ? sequence_of(values.y, values, width, params_.batch_first)
                                : sequence_of(memory + between_at_[layer % 2], values, width, false);
      run_layer(layer, in, out);
      in = out;
    }
  }

 private:
  void take(int64_t& at, int64_t floats) {
    at = floats_;
    floats_ += round_up(floats, 16);
  }

  // One direction of a layer.
  struct Direction {
    const Recurrent::Packed* packed;
    Sequence out;         // its part of the layer's
    const float* before;  // the hidden state before the first step, [batch, width]
    float* cell;          // [batch, hidden]
    bool reverse;
  };

  int64_t state(int64_t layer, int64_t direction) const { return (layer * params_.directions + direction) * batch_; }
  int64_t time(const Direction& d, int64_t step) const { return d.reverse ? steps_ - 1 - step : step; }

  void run_layer(int64_t layer, const Sequence& in, const Sequence& out) {
    const int64_t width = params_.width();
    for (int64_t i = 0; i < params_.directions; ++i) {
      const int64_t at = state(layer, i);
      Direction& d = directions_[i];
      d.packed = &layers_.packed_[static_cast<std::size_t>(layer * params_.directions + i)];
      d.out = {out.data + i * width, out.step_stride, out.row_stride};
      d.before = values_->h0 ? values_->h0 + at * width : memory_ + zeros_at_;
      d.reverse = i == 1;
      if (params_.kind != RecurrentKind::lstm) continue;
      d.cell = values_->c_n + at * params_.hidden;
      if (values_->c0) std::copy_n(values_->c0 + at * params_.hidden, batch_ * params_.hidden, d.cell);
      else std::fill_n(d.cell, batch_ * params_.hidden, 0.0f);
    }
    for (int64_t step = 0; step < steps_; step += ahead_) {
      const int64_t count = std::min(ahead_, steps_ - step);
      each_block(count * directions_[0].packed->inputs,
                 [&](const Direction& d, int64_t block, int64_t index) { multiply_inputs(d, block, index, in, step, count); });
      for (int64_t i = 0; i < count; ++i) run_step(step + i, step, count);
    }
    for (int64_t i = 0; i < params_.directions; ++i) {
      const Direction& d = directions_[i];
      for (int64_t row = 0; row < batch_; ++row)
        std::copy_n(d.out.at(time(d, steps_ - 1), row), width, values_->h_n + (state(layer, i) + row) * width);
    }
  }

  // function(direction, block, number of the block among those of all directions), on as many threads as the work is worth. depth: products for
  // each sum.
  template <typename Function>
  void each_block(int64_t depth, const Function& function) {
    const int64_t blocks = layers_.blocks(), count = blocks * params_.directions;
    const int64_t worth = 1 + count * layers_.columns() * batch_ * depth / kWorth;
    const int64_t tasks = std::min({count, worth, int64_t{pool_->threads()}});
    pool_->run(tasks, [&](int64_t task, int) {
      for (int64_t i = count * task / tasks; i < count * (task + 1) / tasks; ++i)
        function(directions_[i / blocks], i % blocks, i);
    });
  }

  // Sums of some steps, in the order of time, of one block.
  float* sums(int64_t index) const { return memory_ + sums_at_ + index * ahead_ * batch_ * layers_.columns(); }

  // Steps [step, step + count): the bias and the inputs.
  void multiply_inputs(const Direction& d, int64_t block, int64_t index, const Sequence& in, int64_t step, int64_t count) const {
    const int64_t columns = layers_.columns(), inputs = d.packed->inputs;
    const int64_t first = std::min(time(d, step), time(d, step + count - 1));
    float* const out = sums(index);
    for (int64_t row = 0; row < count * batch_; ++row)
      std::copy_n(d.packed->bias.as<float>() + block * columns, columns, out + row * columns);
    MatmulTile tile{};
    tile.b = d.packed->w_ih.as<float>() + block * inputs * columns;
    tile.b_stride = tile.columns = columns;
    tile.depth = inputs;
    tile.add = true;
    if (in.step_stride == batch_ * in.row_stride) {  // all rows lie one after the other
      tile.a = in.at(first, 0);
      tile.a_stride = in.row_stride;
      tile.out = out;
      tile.out_stride = columns;
      tile.rows = count * batch_;
      return layers_.products_.multiply(tile);
    }
    for (int64_t row = 0; row < batch_; ++row) {
      tile.a = in.at(first, row);
      tile.a_stride = in.step_stride;
      tile.out = out + row * columns;
      tile.out_stride = batch_ * columns;
      tile.rows = count;
      layers_.products_.multiply(tile);
    }
  }

  // One step of both directions, of which the sums of steps [first, first + count) have their inputs.
  void run_step(int64_t step, int64_t first, int64_t count) {
    each_block(params_.width(), [&](const Direction& d, int64_t block, int64_t index) {
      const int64_t from = d.reverse ? first + count - 1 - step : step - first;
      multiply_hidden(d, block, index, step, sums(index) + from * batch_ * layers_.columns());
    });
    if (params_.projection > 0) project(step);
  }

  void multiply_hidden(const Direction& d, int64_t block, int64_t index, int64_t step, float* sums) const {
    const int64_t columns = layers_.columns(), width = params_.width(), now = time(d, step);
    const float* const before = step == 0 ? d.before : d.out.at(time(d, step - 1), 0);
    const bool gru = params_.kind == RecurrentKind::gru;
    MatmulTile tile{};
    tile.a = before;
    tile.a_stride = step == 0 ? width : d.out.row_stride;
    tile.b = d.packed->w_hh.as<float>() + block * width * columns;
    tile.b_stride = tile.out_stride = columns;
    tile.out = sums;
    tile.rows = batch_;
    tile.depth = width;
    tile.columns = gru ? columns - kUnits : columns;
    tile.add = true;
    layers_.products_.multiply(tile);

    GateBlock gates{};
    gates.sums = sums;
    gates.rows = batch_;
    gates.units = std::min<int64_t>(kUnits, params_.hidden - block * kUnits);
    gates.out = d.out.at(now, 0) + block * kUnits;
    gates.out_stride = d.out.row_stride;
    if (params_.projection > 0) {
      gates.out = units_of(d) + block * kUnits;
      gates.out_stride = params_.hidden;
    }
    if (params_.kind == RecurrentKind::lstm) {
      gates.cell = d.cell + block * kUnits;
      gates.cell_stride = params_.hidden;
    }
    if (gru) {  // the new gate's hidden state stays apart
      float* const hidden_sums = memory_ + hidden_sums_at_ + index * batch_ * kUnits;
      for (int64_t row = 0; row < batch_; ++row)
        std::copy_n(d.packed->hidden_bias.as<float>() + block * kUnits, kUnits, hidden_sums + row * kUnits);
      tile.b += columns - kUnits;
      tile.out = hidden_sums;
      tile.out_stride = tile.columns = kUnits;
      layers_.products_.multiply(tile);
      gates.hidden_sums = hidden_sums;
      gates.before = before + block * kUnits;
      gates.before_stride = tile.a_stride;
    }
    layers_.gate_(gates);
  }

  float* units_of(const Direction& d) const { return memory_ + units_at_ + (&d - directions_) * batch_ * params_.hidden; }

  void project(int64_t step) {
    const int64_t columns = layers_.products_.columns, blocks = div_up(params_.projection, columns);
    const int64_t count = blocks * params_.directions;
    const int64_t worth = 1 + count * columns * batch_ * params_.hidden / kWorth;
    const int64_t tasks = std::min({count, worth, int64_t{pool_->threads()}});
    pool_->run(tasks, [&](int64_t task, int) {
      for (int64_t i = count * task / tasks; i < count * (task + 1) / tasks; ++i) {
        const Direction& d = directions_[i / blocks];
        const int64_t column = i % blocks * columns;
        layers_.products_.multiply({.a = units_of(d),
                                    .b = d.packed->w_hr.as<float>() + column * params_.hidden,
                                    .out = d.out.at(time(d, step), 0) + column,
                                    .a_stride = params_.hidden,
                                    .b_stride = columns,
                                    .out_stride = d.out.row_stride,
                                    .rows = batch_,
                                    .depth = params_.hidden,
                                    .columns = std::min(columns, params_.projection - column),
                                    .add = false});
      }
    });
  }

  const Recurrent& layers_;
  const RecurrentParams& params_;
  const int64_t steps_, batch_;
  const int64_t ahead_;  // steps whose inputs are multiplied at once
  int64_t floats_ = 0;
  int64_t sums_at_ = 0, hidden_sums_at_ = 0, units_at_ = 0, zeros_at_ = 0, between_at_[2] = {0, 0};
  float* memory_ = nullptr;
  ThreadPool* pool_ = nullptr;
  const RecurrentValues* values_ = nullptr;
  Direction directions_[2] = {};
};

int64_t Recurrent::scratch_bytes(int64_t steps, int64_t batch, int threads) const {
  return round_up(div_up(RecurrentRun(*this, steps, batch).bytes(), threads), 64);
}

void Recurrent::run(const RecurrentValues& values, uint8_t* scratch, ThreadPool& pool) const {
  RecurrentRun(*this, values.steps, values.batch).run(values, reinterpret_cast<float*>(scratch), pool);
}

}  // namespace niwaki
