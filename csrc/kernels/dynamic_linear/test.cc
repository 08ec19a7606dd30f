#include "kernels/dynamic_linear/dynamic_linear.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernels/common/test_planes.h"
#include "testing/emulation.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

std::size_t at(int64_t index) { return static_cast<std::size_t>(index); }

struct Layer {
  int32_t inputs, outputs;
  std::vector<int8_t> weight;
  std::vector<float> scale, bias;

  Layer(int32_t ins, int32_t outs, float zeros, Random& random) : inputs(ins), outputs(outs) {
    for (int32_t o = 0; o < outs; ++o)
      for (int32_t first = 0; first < ins; first += 4) {
        const bool zero = random.real(0.0f, 1.0f) < zeros;
        for (int32_t i = first; i < std::min(first + 4, ins); ++i)
          weight.push_back(static_cast<int8_t>(zero ? 0 : random.integer(-127, 127)));
      }
    for (int32_t o = 0; o < outs; ++o) {
      scale.push_back(random.real(1e-4f, 1e-2f));
      bias.push_back(random.real(-1.0f, 1.0f));
    }
  }

  std::vector<float> run(const std::vector<float>& in, int64_t rows, Isa isa, ConvKind kind, int threads) const {
    const DynamicLinear layer({weight.data(), scale.data(), bias.data(), outputs, inputs}, isa, kind, rows);
    std::vector<float> out(at(rows * outputs + 1), 7.0f);
    ThreadPool pool(threads);
    Buffer scratch(at(layer.scratch_bytes(rows, threads) * threads));
    std::memset(scratch.data(), 0xee, scratch.size());
    layer.run(in.data(), out.data(), rows, scratch.data(), pool);
    CHECK_EQ(out.back(), 7.0f);
    out.pop_back();
    return out;
  }
};

// The formula of dynamic_linear.h, one element after the other.
std::vector<float> expected(const Layer& layer, const std::vector<float>& in, int64_t rows) {
  std::vector<float> out;
  for (int64_t row = 0; row < rows; ++row) {
    const float* x = in.data() + row * layer.inputs;
    float low = 0.0f, high = 0.0f;
    for (int32_t i = 0; i < layer.inputs; ++i) {
      low = std::min(low, x[i]);
      high = std::max(high, x[i]);
    }
    const float scale = std::max(2.0f * (high / 510.0f - low / 510.0f), 1e-30f), inverse = 1.0f / scale;
    const auto zero = std::min(static_cast<int32_t>(std::nearbyint(-low / scale)), 255);
    for (int32_t o = 0; o < layer.outputs; ++o) {
      int64_t sum = 0, weights = 0;
      for (int32_t i = 0; i < layer.inputs; ++i) {
        const int64_t weight = layer.weight[at(int64_t{o} * layer.inputs + i)];
        sum += weight * (naive_finish(x[i] * inverse, zero, 0, 255) - 128);
        weights += weight;
      }
      float y = static_cast<float>(sum) + static_cast<float>((128 - zero) * weights);
      y = y * layer.scale[at(o)];
      y = y * scale;
      out.push_back(y + layer.bias[at(o)]);
    }
  }
  return out;
}

TEST(dynamic_linear_selection) { check_selection(dynamic_linear_kernels(), select_dynamic_linear); }

TEST(dynamic_linear_equals_its_formula) {
  Random random(1);
  const int32_t shapes[][3] = {{1, 1, 1},    {1, 40, 70},   {1, 600, 150}, {257, 20, 17}, {3, 7, 5},
                               {17, 33, 18}, {40, 96, 131}, {300, 20, 17}, {700, 5, 3}};
  for (const auto& [rows, inputs, outputs] : shapes) {
    for (const float zeros : {0.0f, 0.8f}) {
      const Layer layer(inputs, outputs, zeros, random);
      std::vector<float> in;
      for (int64_t i = 0; i < int64_t{rows} * inputs; ++i) {
        const int64_t row = i / inputs;  // rows of all sizes: of zeros, of positive and of negative numbers
        const float size = row % 5 == 4 ? 0.0f : std::pow(10.0f, static_cast<float>(row % 7 - 3));
        in.push_back(size * random.real(row % 3 == 1 ? 0.0f : -1.0f, row % 3 == 2 ? 0.0f : 2.0f));
      }
      const std::vector<float> wanted = expected(layer, in, rows);
      for (const Isa isa : swept_isas())
        for (const ConvKind kind : {ConvKind::automatic, ConvKind::dense, ConvKind::sparse})
          for (const int threads : {1, 3}) CHECK(layer.run(in, rows, isa, kind, threads) == wanted);
    }
  }
}

// For any number of rows, found without a look at each of a thousand million.
TEST(dynamic_linear_scratch_for_any_number_of_rows) {
  const std::vector<int8_t> weight(40 * 72, 1);
  const std::vector<float> ones(40, 1.0f);
  for (const Isa isa : supported_isas()) {
    for (const ConvKind kind : {ConvKind::automatic, ConvKind::dense, ConvKind::sparse}) {
      const DynamicLinear layer({weight.data(), ones.data(), ones.data(), 40, 72}, isa, kind, 8);
      for (const int threads : {1, 3}) {
        const int64_t most = layer.most_scratch_bytes(int64_t{1} << 30, threads);
        for (int64_t rows = 1; rows < 3000; ++rows) CHECK(layer.scratch_bytes(rows, threads) <= most);
        CHECK_EQ(layer.most_scratch_bytes(1, threads), layer.scratch_bytes(1, threads));
      }
    }
  }
}

TEST(dynamic_linear_is_near_the_product) {
  Random random(2);
  const Layer layer(256, 32, 0.0f, random);
  std::vector<float> in;
  for (int i = 0; i < 8 * 256; ++i) in.push_back(random.real(-1.0f, 3.0f));
  const std::vector<float> found = layer.run(in, 8, current_isa(), ConvKind::automatic, 1);
  for (int64_t i = 0; i < 8 * 32; ++i) {
    double wanted = layer.bias[at(i % 32)], most = 0.0;
    for (int64_t k = 0; k < 256; ++k) {
      const double weight = layer.weight[at(i % 32 * 256 + k)] * double{layer.scale[at(i % 32)]};
      wanted += weight * in[at(i / 32 * 256 + k)];
      most += std::abs(weight) * (4.0 / 255.0 / 2.0);
    }
    CHECK(std::abs(found[at(i)] - wanted) <= most);
  }
}

// Not a number, or infinity: in its row and nowhere else.
TEST(dynamic_linear_of_what_is_not_finite) {
  Random random(3);
  const Layer layer(37, 20, 0.0f, random);
  for (const float odd : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                          -std::numeric_limits<float>::infinity()}) {
    std::vector<float> in(5 * 37, 0.5f);
    in[2 * 37 + 36] = odd;
    in[3 * 37 + 4] = 1.0e38f;  // large, but a number
    in[3 * 37 + 5] = -1.0e38f;
    for (const Isa isa : swept_isas()) {
      const std::vector<float> found = layer.run(in, 5, isa, ConvKind::automatic, 1);
      for (int64_t i = 0; i < 100; ++i) CHECK_EQ(std::isfinite(found[at(i)]), i / 20 != 2);
    }
  }
}

}  // namespace
