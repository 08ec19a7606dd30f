#include "kernels/recurrent/recurrent.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/common/test_planes.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

std::size_t at(int64_t index) { return static_cast<std::size_t>(index); }

std::vector<float> random_floats(Random& random, int64_t count, float most = 1.0f) {
  std::vector<float> values(at(count));
  for (float& value : values) value = random.real(-most, most);
  return values;
}

struct Case {
  RecurrentParams params;
  int64_t steps, batch;
  bool bias = true, states = true;
  float zeros = 0.0f;  // share of the blocks of four weights
};

int64_t gates_of(RecurrentKind kind) { return kind == RecurrentKind::lstm ? 4 : kind == RecurrentKind::gru ? 3 : 1; }

struct Result {
  std::vector<float> y, h_n, c_n;
  bool operator==(const Result&) const = default;
};

// Layers with their tensors, and what torch's formulas make of them in double.
struct Problem {
  struct Tensors {
    std::vector<float> w_ih, w_hh, b_ih, b_hh, w_hr;
    std::vector<int8_t> q_ih{}, q_hh{}, q_hr{};  // where rows are quantized by their own ranges, and a scale for all
    std::vector<float> scale{};
  };
  Case c;
  std::vector<Tensors> tensors;
  std::vector<float> x, h0, c0;
  std::vector<int64_t> lengths{};  // empty: all as long as there are steps

  Problem(const Case& given, Random& random) : c(given) {
    const RecurrentParams& p = c.params;
    const int64_t rows = gates_of(p.kind) * p.hidden, states = p.layers * p.directions;
    for (int64_t i = 0; i < states; ++i) {
      const int64_t inputs = i < p.directions ? p.inputs : p.directions * p.width();
      const auto most = 2.0f / std::sqrt(static_cast<float>(inputs + p.width()));
      tensors.push_back({random_floats(random, rows * inputs, most), random_floats(random, rows * p.width(), most),
                         random_floats(random, rows), random_floats(random, rows),
                         random_floats(random, p.projection * p.hidden, most)});
    }
    for (Tensors& t : tensors)
      for (std::vector<float>* weight : {&t.w_ih, &t.w_hh, &t.w_hr})
        for (std::size_t i = 0; c.zeros > 0.0f && i + 4 <= weight->size(); i += 4)
          if (random.real(0.0f, 1.0f) < c.zeros) std::fill_n(weight->begin() + static_cast<std::ptrdiff_t>(i), 4, 0.0f);
    for (Tensors& t : tensors)
      if (p.dynamic) t.scale.assign(at(std::max(rows, p.projection)), kScale);
    for (Tensors& t : tensors) {
      if (!p.dynamic) break;
      quantize(t.w_ih, t.q_ih);
      quantize(t.w_hh, t.q_hh);
      quantize(t.w_hr, t.q_hr);
    }
    x = random_floats(random, c.steps * c.batch * p.inputs, 2.0f);
    h0 = random_floats(random, states * c.batch * p.width());
    c0 = random_floats(random, states * c.batch * p.hidden);
  }

  static constexpr float kScale = 1.0f / 128.0f;
  static void quantize(std::vector<float>& weights, std::vector<int8_t>& bytes) {
    for (float& weight : weights) {
      bytes.push_back(static_cast<int8_t>(std::clamp(std::nearbyintf(weight / kScale), -127.0f, 127.0f)));
      weight = static_cast<float>(bytes.back()) * kScale;
    }
  }

  Result empty() const {
    const RecurrentParams& p = c.params;
    const int64_t states = p.layers * p.directions * c.batch;
    const float odd = std::numeric_limits<float>::quiet_NaN();
    return {std::vector<float>(at(c.steps * c.batch * p.directions * p.width()), odd),
            std::vector<float>(at(states * p.width()), odd),
            std::vector<float>(at(p.kind == RecurrentKind::lstm ? states * p.hidden : 0), odd)};
  }

  Result run(Isa isa, int threads, ConvKind kind = ConvKind::automatic) const {
    const RecurrentParams& p = c.params;
    const auto matrix = [&](const Tensors& t, const std::vector<float>& floats, const std::vector<int8_t>& bytes,
                            int64_t outputs) {
      const int64_t inputs = static_cast<int64_t>(floats.size()) / outputs;
      if (p.dynamic) return RowWeights{nullptr, bytes.data(), t.scale.data(), outputs, inputs};
      return RowWeights{floats.data(), nullptr, nullptr, outputs, inputs};
    };
    const int64_t rows = gates_of(p.kind) * p.hidden;
    std::vector<RecurrentWeights> weights;
    for (const Tensors& t : tensors)
      weights.push_back({matrix(t, t.w_ih, t.q_ih, rows), matrix(t, t.w_hh, t.q_hh, rows), c.bias ? t.b_ih.data() : nullptr,
                         c.bias ? t.b_hh.data() : nullptr,
                         p.projection > 0 ? matrix(t, t.w_hr, t.q_hr, p.projection) : RowWeights{}});
    const Recurrent layers(c.params, weights, isa, kind);
    if (kind != ConvKind::automatic) CHECK_EQ(layers.sparse(), kind == ConvKind::sparse);
    Result result = empty();
    ThreadPool pool(threads);
    Buffer scratch(at(layers.scratch_bytes(c.steps, c.batch, threads, !lengths.empty()) * threads));
    std::memset(scratch.data(), 0xff, scratch.size());
    layers.run({x.data(), c.states ? h0.data() : nullptr, c.states ? c0.data() : nullptr, result.y.data(), result.h_n.data(),
                result.c_n.data(), c.steps, c.batch, lengths.empty() ? nullptr : lengths.data()},
               scratch.data(), pool);
    return result;
  }

  // Where a row of `width` elements of x or y begins.
  int64_t place(int64_t time, int64_t n, int64_t width) const {
    return (c.params.batch_first ? n * c.steps + time : time * c.batch + n) * width;
  }

  // Of [states][batch][width], those of one sequence.
  std::vector<float> of_sequence(const std::vector<float>& all, int64_t n, int64_t width) const {
    std::vector<float> found;
    for (int64_t state = 0; state < c.params.layers * c.params.directions; ++state)
      for (int64_t i = 0; i < width; ++i) found.push_back(all[at((state * c.batch + n) * width + i)]);
    return found;
  }

  // One sequence up to its end, by itself.
  Problem alone(int64_t n) const {
    Problem one = *this;
    one.c.batch = 1;
    one.c.steps = lengths[at(n)];
    one.lengths.clear();
    one.x.clear();
    const int64_t inputs = c.params.inputs;
    for (int64_t time = 0; time < one.c.steps; ++time)
      for (int64_t i = 0; i < inputs; ++i) one.x.push_back(x[at(place(time, n, inputs) + i)]);
    one.h0 = of_sequence(h0, n, c.params.width());
    one.c0 = of_sequence(c0, n, c.params.hidden);
    return one;
  }

  // One direction of a layer over a sequence of [steps][batch][inputs].
  void direction(int64_t state, bool reverse, const std::vector<double>& in, int64_t inputs, std::vector<double>& out,
                 int64_t out_width, int64_t out_at, Result& result) const {
    const RecurrentParams& p = c.params;
    const Tensors& t = tensors[at(state)];
    const int64_t width = p.width(), hidden = p.hidden;
    const auto sigmoid = [](double v) { return 1.0 / (1.0 + std::exp(-v)); };
    for (int64_t n = 0; n < c.batch; ++n) {
      std::vector<double> h(at(width), 0.0), cell(at(hidden), 0.0);
      for (int64_t i = 0; c.states && i < width; ++i) h[at(i)] = h0[at((state * c.batch + n) * width + i)];
      for (int64_t i = 0; c.states && i < hidden; ++i) cell[at(i)] = c0[at((state * c.batch + n) * hidden + i)];
      for (int64_t step = 0; step < c.steps; ++step) {
        const int64_t time = reverse ? c.steps - 1 - step : step;
        std::vector<double> units(at(hidden));
        for (int64_t unit = 0; unit < hidden; ++unit) {
          double from_in[4], from_hidden[4];
          for (int64_t gate = 0; gate < gates_of(p.kind); ++gate) {
            const int64_t row = gate * hidden + unit;
            from_in[gate] = c.bias ? t.b_ih[at(row)] : 0.0;
            from_hidden[gate] = c.bias ? t.b_hh[at(row)] : 0.0;
            for (int64_t k = 0; k < inputs; ++k)
              from_in[gate] += t.w_ih[at(row * inputs + k)] * in[at((time * c.batch + n) * inputs + k)];
            for (int64_t k = 0; k < width; ++k) from_hidden[gate] += t.w_hh[at(row * width + k)] * h[at(k)];
          }
          const auto sum = [&](int gate) { return from_in[gate] + from_hidden[gate]; };
          switch (p.kind) {
            case RecurrentKind::lstm:
              cell[at(unit)] = sigmoid(sum(1)) * cell[at(unit)] + sigmoid(sum(0)) * std::tanh(sum(2));
              units[at(unit)] = sigmoid(sum(3)) * std::tanh(cell[at(unit)]);
              break;
            case RecurrentKind::gru: {
              const double fresh = std::tanh(from_in[2] + sigmoid(sum(0)) * from_hidden[2]), update = sigmoid(sum(1));
              units[at(unit)] = (1.0 - update) * fresh + update * h[at(unit)];
              break;
            }
            case RecurrentKind::rnn_tanh: units[at(unit)] = std::tanh(sum(0)); break;
            case RecurrentKind::rnn_relu: units[at(unit)] = std::max(sum(0), 0.0); break;
          }
        }
        h = units;
        if (p.projection > 0) {
          h.assign(at(width), 0.0);
          for (int64_t i = 0; i < width; ++i)
            for (int64_t k = 0; k < hidden; ++k) h[at(i)] += t.w_hr[at(i * hidden + k)] * units[at(k)];
        }
        for (int64_t i = 0; i < width; ++i) out[at((time * c.batch + n) * out_width + out_at + i)] = h[at(i)];
      }
      for (int64_t i = 0; i < width; ++i) result.h_n[at((state * c.batch + n) * width + i)] = static_cast<float>(h[at(i)]);
      if (p.kind != RecurrentKind::lstm) continue;
      for (int64_t i = 0; i < hidden; ++i) result.c_n[at((state * c.batch + n) * hidden + i)] = static_cast<float>(cell[at(i)]);
    }
  }

  Result expected() const {
    const RecurrentParams& p = c.params;
    Result result = empty();
    std::vector<double> in;
    for (int64_t i = 0; i < c.steps * c.batch; ++i)
      for (int64_t k = 0; k < p.inputs; ++k) in.push_back(x[at(place(i / c.batch, i % c.batch, p.inputs) + k)]);
    const int64_t out_width = p.directions * p.width();
    for (int64_t layer = 0; layer < p.layers; ++layer) {
      std::vector<double> out(at(c.steps * c.batch * out_width));
      for (int64_t d = 0; d < p.directions; ++d)
        direction(layer * p.directions + d, d == 1, in, layer == 0 ? p.inputs : out_width, out, out_width, d * p.width(), result);
      in = out;
    }
    for (int64_t i = 0; i < c.steps * c.batch; ++i)
      for (int64_t k = 0; k < out_width; ++k)
        result.y[at(place(i / c.batch, i % c.batch, out_width) + k)] = static_cast<float>(in[at(i * out_width + k)]);
    return result;
  }
};

void check_near(const std::vector<float>& found, const std::vector<float>& wanted, float most) {
  CHECK_EQ(found.size(), wanted.size());
  for (std::size_t i = 0; i < found.size(); ++i) CHECK(std::abs(found[i] - wanted[i]) < most * (1.0f + std::abs(wanted[i])));
}

TEST(recurrent_selection) { check_selection(recurrent_kernels(), select_recurrent); }

void check_layers(bool dynamic, float most) {
  Random random(1);
  using enum RecurrentKind;
  for (const RecurrentKind kind : {lstm, gru, rnn_tanh, rnn_relu}) {
    const Case cases[] = {{{kind, 1, 1, 0, 1, 1, false}, 1, 1},
                          {{kind, 5, 16, 0, 1, 1, false}, 7, 3},
                          {{kind, 5, 33, 0, 1, 1, true}, 6, 2, true, false},
                          {{kind, 9, 20, 0, 3, 2, true}, 5, 3},
                          {{kind, 3, 7, 0, 2, 2, false}, 4, 1, false, false},
                          {{kind, 2, 5, 0, 4, 1, false}, 300, 1},
                          {{kind, 12, 36, 0, 1, 2, false}, 3, 300},
                          {{lstm, 6, 21, 9, 2, 2, true}, 4, 3},
                          {{lstm, 6, 70, 60, 1, 1, false}, 9, 2, true, false}};
    for (Case c : cases) {
      if (kind != lstm && c.params.projection > 0) continue;
      c.params.dynamic = dynamic;
      const Problem problem(c, random);
      const Result first = problem.run(Isa::scalar, 1), wanted = problem.expected();
      check_near(first.y, wanted.y, most);
      check_near(first.h_n, wanted.h_n, most);
      check_near(first.c_n, wanted.c_n, most);
      for (const Isa isa : swept_isas())
        for (const int threads : {1, 3}) CHECK(problem.run(isa, threads) == first);
    }
  }
}

TEST(recurrent_layers_equal_their_formulas_and_the_same_bits_everywhere) { check_layers(false, 2e-5f); }

// Rounding inputs and states to 8 bits costs about 0.4 % of their range each time; a stack of ReLUs adds it up.
TEST(recurrent_layers_in_int8_are_near_and_the_same_bits_everywhere) { check_layers(true, 0.06f); }

// Whatever kernels multiply them, weights with zeros give the same bits, of single rows and of several.
TEST(recurrent_layers_with_sparse_weights) {
  Random random(4);
  using enum RecurrentKind;
  for (const RecurrentKind kind : {lstm, gru, rnn_tanh})
    for (const int64_t batch : {1, 3}) {
      const Problem problem({{kind, 24, 96, kind == lstm ? 40 : 0, 2, 2, true, true}, 5, batch, true, true, 0.8f}, random);
      const Result first = problem.run(Isa::scalar, 1, ConvKind::dense);
      check_near(first.y, problem.expected().y, 0.06f);
      for (const Isa isa : swept_isas())
        for (const ConvKind products : {ConvKind::automatic, ConvKind::dense, ConvKind::sparse})
          for (const int threads : {1, 3}) CHECK(problem.run(isa, threads, products) == first);
    }
}

// Sequences of different lengths, in whatever order: each is, to the bit, what it is alone.
void check_lengths(const Case& c, const std::vector<int64_t>& lengths, Random& random) {
  Problem problem(c, random);
  problem.lengths = lengths;
  const int64_t width = c.params.directions * c.params.width(), hidden = c.params.hidden;
  const bool cells = c.params.kind == RecurrentKind::lstm;
  const Result all = problem.run(Isa::scalar, 1);
  for (int64_t n = 0; n < c.batch; ++n) {
    const Result one = problem.alone(n).run(Isa::scalar, 1);
    for (int64_t time = 0; time < c.steps; ++time)
      for (int64_t i = 0; i < width; ++i)
        CHECK_EQ(all.y[at(problem.place(time, n, width) + i)], time < lengths[at(n)] ? one.y[at(time * width + i)] : 0.0f);
    CHECK(problem.of_sequence(all.h_n, n, c.params.width()) == one.h_n);
    if (cells) CHECK(problem.of_sequence(all.c_n, n, hidden) == one.c_n);
  }
  for (const Isa isa : swept_isas())
    for (const int threads : {1, 3}) CHECK(problem.run(isa, threads) == all);
}

TEST(recurrent_sequences_of_different_lengths) {
  Random random(5);
  using enum RecurrentKind;
  for (const bool dynamic : {false, true})
    for (const RecurrentKind kind : {lstm, gru, rnn_tanh, rnn_relu}) {
      check_lengths({{kind, 5, 18, 0, 1, 1, false, dynamic}, 6, 4}, {6, 5, 5, 1}, random);
      check_lengths({{kind, 7, 33, 0, 3, 2, true, dynamic}, 9, 5, true, false}, {2, 7, 7, 1, 3}, random);
      check_lengths({{kind, 4, 16, 0, 2, 2, false, dynamic}, 70, 3}, {70, 66, 68}, random);
      check_lengths({{kind, 3, 7, 0, 1, 2, true, dynamic}, 5, 1, false, false}, {3}, random);
    }
  check_lengths({{lstm, 6, 21, 9, 2, 2, true, true}, 5, 3}, {4, 2, 5}, random);
  check_lengths({{lstm, 6, 21, 9, 2, 2, false, false}, 5, 80}, std::vector<int64_t>(80, 3), random);
}

// Large sums saturate, and what is not a number stays that and in its row.
TEST(recurrent_layers_with_odd_numbers) {
  Random random(2);
  using enum RecurrentKind;
  for (const bool dynamic : {false, true})
    for (const RecurrentKind kind : {lstm, gru, rnn_tanh, rnn_relu}) {
      Problem problem({{kind, 4, 18, 0, 1, 1, false, dynamic}, 3, 3}, random);
      problem.x[4] = std::numeric_limits<float>::quiet_NaN();  // step 0, row 1
      problem.x[8] = 1e30f;                                    // step 0, row 2
      for (const Isa isa : swept_isas()) {
        const Result found = problem.run(isa, 1);
        for (int64_t i = 0; i < 3 * 18; ++i) CHECK_EQ(std::isnan(found.h_n[at(i)]), i / 18 == 1);
      }
    }
}

}  // namespace
