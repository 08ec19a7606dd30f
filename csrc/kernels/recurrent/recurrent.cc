#include "kernels/recurrent/recurrent.h"

#include <algorithm>
#include <numeric>

namespace niwaki {
namespace {

// Elements of gates that are worth another thread.
constexpr int64_t kWorth = 1 << 11;

// The rows of all steps in memory, in floats. What lies between layers is packed: a step's rows follow those of the step before, and there are
// no others.
struct Rows {
  float* data;
  int64_t step_stride, row_stride;
  bool packed = false;
};

Rows rows_of(float* data, const RecurrentValues& values, int64_t width, bool batch_first) {
  if (batch_first) return {data, width, values.steps * width};
  return {data, values.batch * width, width};
}

}  // namespace

// One run of all layers. The scratch of the threads is one piece of memory for all of them.
//
// Sequences of different lengths are taken from the longest to the shortest, so that those that have some step are its first rows: whatever
// comes with a row is in this order, but for what the caller gives and gets.
class RecurrentRun {
 public:
  RecurrentRun(const Recurrent& layers, int64_t steps, int64_t batch, int threads, bool lengths)
      : layers_(layers),
        params_(layers.params_),
        steps_(steps),
        batch_(batch),
        ahead_(std::clamp<int64_t>(Recurrent::kRowsAhead / batch, 1, steps)) {
    int64_t inputs = 0, product = 0;
    for (const Recurrent::Packed& packed : layers.packed_) {
      inputs = std::max(inputs, packed.inputs->inputs());
      // With lengths, steps have any number of rows.
      const auto bytes = [&](const RowProduct& part, int64_t rows) {
        return lengths ? part.most_scratch_bytes(rows, threads) : part.scratch_bytes(rows, threads);
      };
      product = std::max(product, bytes(*packed.inputs, ahead_ * batch));
      product = std::max(product, packed.inputs->scratch_bytes(steps % ahead_ * batch, threads));
      product = std::max(product, bytes(*packed.hidden, batch));
      if (packed.projection) product = std::max(product, bytes(*packed.projection, batch));
    }
    take(product_at_, div_up(product * threads, static_cast<int64_t>(sizeof(float))));
    take(rows_at_, ahead_ * batch * inputs);
    take(sums_at_, params_.directions * ahead_ * batch * layers.sums());
    take(hidden_sums_at_, batch * layers.sums());
    if (params_.projection > 0) take(units_at_, batch * params_.hidden);
    const int64_t between = steps * batch * params_.directions * params_.width();
    if (params_.layers > 1) take(between_at_[0], between);
    if (params_.layers > 2) take(between_at_[1], between);
    if (!lengths) return;
    constexpr int64_t kFloats = sizeof(int64_t) / sizeof(float);
    take(order_at_, batch * kFloats);
    take(starts_at_, (steps + 1) * kFloats);
    take(states_at_, params_.directions * batch * params_.width());
    take(cells_at_, params_.directions * batch * params_.hidden);
  }

  int64_t bytes() const { return floats_ * static_cast<int64_t>(sizeof(float)); }

  void run(const RecurrentValues& values, float* memory, ThreadPool& pool) {
    memory_ = memory;
    pool_ = &pool;
    values_ = &values;
    last_ = steps_;
    if (values.lengths != nullptr) order_rows();
    const int64_t width = params_.directions * params_.width();
    Rows in = rows_of(const_cast<float*>(values.x), values, params_.inputs, params_.batch_first);  // is only read
    const Rows y = rows_of(values.y, values, width, params_.batch_first);
    for (int64_t layer = 0; layer < params_.layers; ++layer) {
      const Rows out = layer + 1 == params_.layers ? y : Rows{memory + between_at_[layer % 2], 0, width, true};
      run_layer(layer, in, out);
      in = out;
    }
    for (int64_t row = 0; values.lengths != nullptr && row < batch_; ++row)
      for (int64_t step = values.lengths[order_[row]]; step < steps_; ++step) std::fill_n(at(y, step, row), width, 0.0f);
  }

 private:
  void take(int64_t& at, int64_t floats) {
    at = floats_;
    floats_ += round_up(floats, 16);
  }

  // One direction of a layer.
  struct Direction {
    const Recurrent::Packed* packed;
    Rows out;      // its part of the layer's
    float* state;  // [batch, width]: the hidden state so far
    float* cell;   // [batch, hidden], of an LSTM
    float* sums;   // of the inputs, of some steps in the order of time: [rows][sums of a row]
    bool reverse;
  };

  int64_t time(const Direction& d, int64_t step) const { return d.reverse ? last_ - 1 - step : step; }

  // Of all rows of all steps, the first one of a step.
  int64_t start(int64_t step) const { return starts_ != nullptr ? starts_[step] : step * batch_; }

  float* at(const Rows& rows, int64_t step, int64_t row) const {
    if (rows.packed) return rows.data + (start(step) + row) * rows.row_stride;
    return rows.data + step * rows.step_stride + (order_ != nullptr ? order_[row] : row) * rows.row_stride;
  }

  void order_rows() {
    const int64_t* const lengths = values_->lengths;
    order_ = reinterpret_cast<int64_t*>(memory_ + order_at_);
    starts_ = reinterpret_cast<int64_t*>(memory_ + starts_at_);
    std::iota(order_, order_ + batch_, int64_t{0});
    std::sort(order_, order_ + batch_,
              [&](int64_t a, int64_t b) { return lengths[a] != lengths[b] ? lengths[a] > lengths[b] : a < b; });
    last_ = lengths[order_[0]];
    int64_t rows = batch_;
    starts_[0] = 0;
    for (int64_t step = 0; step < steps_; ++step) {
      while (rows > 0 && lengths[order_[rows - 1]] <= step) --rows;
      starts_[step + 1] = starts_[step] + rows;
    }
  }

  void multiply(const RowProduct& product, const float* in, float* out, int64_t rows) const {
    product.run(in, out, rows, reinterpret_cast<uint8_t*>(memory_ + product_at_), *pool_);
  }

  // A state's rows from the caller's order, or zeros.
  void begin(float* state, const float* from, int64_t width) const {
    if (from == nullptr) std::fill_n(state, batch_ * width, 0.0f);
    else
      for (int64_t row = 0; row < batch_; ++row)
        std::copy_n(from + (order_ != nullptr ? order_[row] : row) * width, width, state + row * width);
  }

  // And back.
  void end(const float* state, float* to, int64_t width) const {
    for (int64_t row = 0; row < batch_; ++row) std::copy_n(state + row * width, width, to + order_[row] * width);
  }

  void run_layer(int64_t layer, const Rows& in, const Rows& out) {
    const int64_t width = params_.width(), hidden = params_.hidden;
    const bool cells = params_.kind == RecurrentKind::lstm;
    for (int64_t i = 0; i < params_.directions; ++i) {
      const int64_t which = layer * params_.directions + i, first = which * batch_;
      Direction& d = directions_[i];
      d.packed = &layers_.packed_[static_cast<std::size_t>(which)];
      d.out = out;
      d.out.data += i * width;
      d.state = order_ != nullptr ? memory_ + states_at_ + i * batch_ * width : values_->h_n + first * width;
      d.sums = memory_ + sums_at_ + i * ahead_ * batch_ * layers_.sums();
      d.reverse = i == 1;
      begin(d.state, values_->h0 ? values_->h0 + first * width : nullptr, width);
      if (!cells) continue;
      d.cell = order_ != nullptr ? memory_ + cells_at_ + i * batch_ * hidden : values_->c_n + first * hidden;
      begin(d.cell, values_->c0 ? values_->c0 + first * hidden : nullptr, hidden);
    }
    for (int64_t step = 0; step < last_; step += ahead_) {
      const int64_t count = std::min(ahead_, last_ - step);
      for (int64_t i = 0; i < params_.directions; ++i) {
        const Direction& d = directions_[i];
        const int64_t first = std::min(time(d, step), time(d, step + count - 1));
        multiply_inputs(d, in, first, count);
        for (int64_t k = 0; k < count; ++k) {
          const int64_t now = time(d, step + k);
          run_step(d, now, d.sums + (start(now) - start(first)) * layers_.sums());
        }
      }
    }
    for (int64_t i = 0; order_ != nullptr && i < params_.directions; ++i) {
      const Direction& d = directions_[i];
      const int64_t first = (layer * params_.directions + i) * batch_;
      end(d.state, values_->h_n + first * width, width);
      if (cells) end(d.cell, values_->c_n + first * hidden, hidden);
    }
  }

  // Of `count` steps from `first` in the order of time.
  void multiply_inputs(const Direction& d, const Rows& in, int64_t first, int64_t count) const {
    const int64_t inputs = d.packed->inputs->inputs();
    const float* rows = at(in, first, 0);
    const bool together =
        in.packed || (order_ == nullptr && in.step_stride == batch_ * inputs && (batch_ == 1 || in.row_stride == inputs));
    if (!together) {
      float* to = memory_ + rows_at_;
      rows = to;
      for (int64_t step = first; step < first + count; ++step)
        for (int64_t row = 0; row < start(step + 1) - start(step); ++row, to += inputs)
          std::copy_n(at(in, step, row), inputs, to);
    }
    multiply(*d.packed->inputs, rows, d.sums, start(first + count) - start(first));
  }

  void run_step(const Direction& d, int64_t now, const float* sums) const {
    const int64_t rows = start(now + 1) - start(now), width = params_.width();
    float* const hidden_sums = memory_ + hidden_sums_at_;
    multiply(*d.packed->hidden, d.state, hidden_sums, rows);
    const bool projected = params_.projection > 0;
    float* const units = projected ? memory_ + units_at_ : d.state;  // a gate reads its own units before it writes them
    const int64_t blocks = layers_.blocks();
    const int64_t tasks = std::min({blocks, 1 + rows * layers_.sums() / kWorth, int64_t{pool_->threads()}});
    pool_->run(tasks, [&](int64_t task, int) {
      for (int64_t block = blocks * task / tasks; block < blocks * (task + 1) / tasks; ++block) {
        GateBlock gates{};
        gates.sums = sums + block * layers_.columns();
        gates.hidden_sums = hidden_sums + block * layers_.columns();
        gates.stride = layers_.sums();
        gates.rows = rows;
        gates.units = std::min<int64_t>(kUnits, params_.hidden - block * kUnits);
        gates.before = d.state + block * kUnits;
        gates.before_stride = width;
        gates.cell = d.cell + (d.cell ? block * kUnits : 0);
        gates.cell_stride = params_.hidden;
        gates.out = units + block * kUnits;
        gates.out_stride = params_.hidden;
        layers_.gate_(gates);
      }
    });
    if (projected) multiply(*d.packed->projection, units, d.state, rows);
    for (int64_t row = 0; row < rows; ++row) std::copy_n(d.state + row * width, width, at(d.out, now, row));
  }

  const Recurrent& layers_;
  const RecurrentParams& params_;
  const int64_t steps_, batch_;
  const int64_t ahead_;  // steps whose inputs are multiplied at once
  int64_t last_ = 0;     // steps of the longest sequence
  int64_t floats_ = 0;
  // Where they begin, in floats.
  int64_t product_at_ = 0, rows_at_ = 0, sums_at_ = 0, hidden_sums_at_ = 0, units_at_ = 0;
  int64_t order_at_ = 0, starts_at_ = 0, states_at_ = 0, cells_at_ = 0;  // with lengths
  int64_t between_at_[2] = {0, 0};
  float* memory_ = nullptr;
  int64_t *order_ = nullptr, *starts_ = nullptr;  // null without lengths
  ThreadPool* pool_ = nullptr;
  const RecurrentValues* values_ = nullptr;
  Direction directions_[2] = {};
};

int64_t Recurrent::scratch_bytes(int64_t steps, int64_t batch, int threads, bool lengths) const {
  return round_up(div_up(RecurrentRun(*this, steps, batch, threads, lengths).bytes(), threads), 64);
}

void Recurrent::run(const RecurrentValues& values, uint8_t* scratch, ThreadPool& pool) const {
  const bool lengths = values.lengths != nullptr;
  RecurrentRun(*this, values.steps, values.batch, pool.threads(), lengths).run(values, reinterpret_cast<float*>(scratch), pool);
}

}  // namespace niwaki
