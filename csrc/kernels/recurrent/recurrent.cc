#include "kernels/recurrent/recurrent.h"

#include <algorithm>

namespace niwaki {
namespace {

// Elements of gates that are worth another thread.
constexpr int64_t kWorth = 1 << 11;

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
  RecurrentRun(const Recurrent& layers, int64_t steps, int64_t batch, int threads)
      : layers_(layers),
        params_(layers.params_),
        steps_(steps),
        batch_(batch),
        ahead_(std::clamp<int64_t>(Recurrent::kRowsAhead / batch, 1, steps)) {
    int64_t inputs = 0, product = 0;
    for (const Recurrent::Packed& packed : layers.packed_) {
      inputs = std::max(inputs, packed.inputs->inputs());
      product =
          std::max({product, packed.inputs->scratch_bytes(ahead_ * batch, threads),
                    packed.inputs->scratch_bytes(steps % ahead_ * batch, threads), packed.hidden->scratch_bytes(batch, threads)});
      if (packed.projection) product = std::max(product, packed.projection->scratch_bytes(batch, threads));
    }
    take(product_at_, div_up(product * threads, static_cast<int64_t>(sizeof(float))));
    take(rows_at_, ahead_ * batch * inputs);
    take(sums_at_, params_.directions * ahead_ * batch * layers.sums());
    take(hidden_sums_at_, batch * layers.sums());
    take(before_at_, batch * params_.width());
    if (params_.projection > 0) {
      take(units_at_, batch * params_.hidden);
      take(projected_at_, batch * params_.projection);
    }
    const int64_t between = steps * batch * params_.directions * params_.width();
    if (params_.layers > 1) take(between_at_[0], between);
    if (params_.layers > 2) take(between_at_[1], between);
  }

  int64_t bytes() const { return floats_ * static_cast<int64_t>(sizeof(float)); }

  void run(const RecurrentValues& values, float* memory, ThreadPool& pool) {
    memory_ = memory;
    pool_ = &pool;
    values_ = &values;
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
    Sequence out;     // its part of the layer's
    const float* h0;  // [batch, width], or null: zeros
    float* cell;      // [batch, hidden]
    float* sums;      // of the inputs, of some steps in the order of time: [steps][batch][sums of a row]
    bool reverse;
  };

  int64_t state(int64_t layer, int64_t direction) const { return (layer * params_.directions + direction) * batch_; }
  int64_t time(const Direction& d, int64_t step) const { return d.reverse ? steps_ - 1 - step : step; }

  void multiply(const RowProduct& product, const float* in, float* out, int64_t rows) const {
    product.run(in, out, rows, reinterpret_cast<uint8_t*>(memory_ + product_at_), *pool_);
  }

  void run_layer(int64_t layer, const Sequence& in, const Sequence& out) {
    const int64_t width = params_.width();
    for (int64_t i = 0; i < params_.directions; ++i) {
      const int64_t at = state(layer, i);
      Direction& d = directions_[i];
      d.packed = &layers_.packed_[static_cast<std::size_t>(layer * params_.directions + i)];
      d.out = {out.data + i * width, out.step_stride, out.row_stride};
      d.h0 = values_->h0 ? values_->h0 + at * width : nullptr;
      d.sums = memory_ + sums_at_ + i * ahead_ * batch_ * layers_.sums();
      d.reverse = i == 1;
      if (params_.kind != RecurrentKind::lstm) continue;
      d.cell = values_->c_n + at * params_.hidden;
      if (values_->c0) std::copy_n(values_->c0 + at * params_.hidden, batch_ * params_.hidden, d.cell);
      else std::fill_n(d.cell, batch_ * params_.hidden, 0.0f);
    }
    for (int64_t step = 0; step < steps_; step += ahead_) {
      const int64_t count = std::min(ahead_, steps_ - step);
      for (int64_t i = 0; i < params_.directions; ++i) {
        const Direction& d = directions_[i];
        multiply_inputs(d, in, std::min(time(d, step), time(d, step + count - 1)), count);
        for (int64_t k = 0; k < count; ++k)
          run_step(d, step + k, d.sums + (d.reverse ? count - 1 - k : k) * batch_ * layers_.sums());
      }
    }
    for (int64_t i = 0; i < params_.directions; ++i) {
      const Direction& d = directions_[i];
      for (int64_t row = 0; row < batch_; ++row)
        std::copy_n(d.out.at(time(d, steps_ - 1), row), width, values_->h_n + (state(layer, i) + row) * width);
    }
  }

  // Of `count` steps from `first` in the order of time.
  void multiply_inputs(const Direction& d, const Sequence& in, int64_t first, int64_t count) const {
    const int64_t inputs = d.packed->inputs->inputs();
    const float* rows = in.at(first, 0);
    if (in.step_stride != batch_ * inputs || (batch_ > 1 && in.row_stride != inputs)) {  // they don't lie one after the other
      float* to = memory_ + rows_at_;
      rows = to;
      for (int64_t step = 0; step < count; ++step)
        for (int64_t row = 0; row < batch_; ++row, to += inputs) std::copy_n(in.at(first + step, row), inputs, to);
    }
    multiply(*d.packed->inputs, rows, d.sums, count * batch_);
  }

  // The hidden state before a step, one row after the other.
  const float* before(const Direction& d, int64_t step) const {
    const int64_t width = params_.width();
    float* const rows = memory_ + before_at_;
    if (step > 0 && (batch_ == 1 || d.out.row_stride == width)) return d.out.at(time(d, step - 1), 0);
    if (step == 0 && d.h0 != nullptr) return d.h0;
    if (step == 0) std::fill_n(rows, batch_ * width, 0.0f);
    else
      for (int64_t row = 0; row < batch_; ++row) std::copy_n(d.out.at(time(d, step - 1), row), width, rows + row * width);
    return rows;
  }

  void run_step(const Direction& d, int64_t step, const float* sums) const {
    const float* const hidden = before(d, step);
    float* const hidden_sums = memory_ + hidden_sums_at_;
    multiply(*d.packed->hidden, hidden, hidden_sums, batch_);
    const bool projected = params_.projection > 0;
    const Sequence units = projected ? Sequence{memory_ + units_at_, 0, params_.hidden} : d.out;
    const int64_t now = time(d, step), blocks = layers_.blocks();
    const int64_t tasks = std::min({blocks, 1 + batch_ * layers_.sums() / kWorth, int64_t{pool_->threads()}});
    pool_->run(tasks, [&](int64_t task, int) {
      for (int64_t block = blocks * task / tasks; block < blocks * (task + 1) / tasks; ++block) {
        GateBlock gates{};
        gates.sums = sums + block * layers_.columns();
        gates.hidden_sums = hidden_sums + block * layers_.columns();
        gates.stride = layers_.sums();
        gates.rows = batch_;
        gates.units = std::min<int64_t>(kUnits, params_.hidden - block * kUnits);
        gates.before = hidden + block * kUnits;
        gates.before_stride = params_.width();
        gates.cell = d.cell + (d.cell ? block * kUnits : 0);
        gates.cell_stride = params_.hidden;
        gates.out = units.at(now, 0) + block * kUnits;
        gates.out_stride = units.row_stride;
        layers_.gate_(gates);
      }
    });
    if (!projected) return;
    float* const out = memory_ + projected_at_;
    multiply(*d.packed->projection, units.data, out, batch_);
    for (int64_t row = 0; row < batch_; ++row)
      std::copy_n(out + row * params_.projection, params_.projection, d.out.at(now, row));
  }

  const Recurrent& layers_;
  const RecurrentParams& params_;
  const int64_t steps_, batch_;
  const int64_t ahead_;  // steps whose inputs are multiplied at once
  int64_t floats_ = 0;
  // Where they begin, in floats.
  int64_t product_at_ = 0, rows_at_ = 0, sums_at_ = 0, hidden_sums_at_ = 0, before_at_ = 0, units_at_ = 0, projected_at_ = 0;
  int64_t between_at_[2] = {0, 0};
  float* memory_ = nullptr;
  ThreadPool* pool_ = nullptr;
  const RecurrentValues* values_ = nullptr;
  Direction directions_[2] = {};
};

int64_t Recurrent::scratch_bytes(int64_t steps, int64_t batch, int threads) const {
  return round_up(div_up(RecurrentRun(*this, steps, batch, threads).bytes(), threads), 64);
}

void Recurrent::run(const RecurrentValues& values, uint8_t* scratch, ThreadPool& pool) const {
  RecurrentRun(*this, values.steps, values.batch, pool.threads()).run(values, reinterpret_cast<float*>(scratch), pool);
}

}  // namespace niwaki
