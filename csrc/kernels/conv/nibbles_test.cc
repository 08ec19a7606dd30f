// Layers whose weights are numbers of 4 bits in memory, against the formula, ==.
#include "kernels/conv/nibbles.h"

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "kernels/conv/packed.h"
#include "kernels/conv/test_layers.h"
#include "testing/emulation.h"

namespace niwaki {
namespace {

using Values = std::vector<int>;

Values range(int first, int last) {
  Values values(static_cast<std::size_t>(last - first + 1));
  std::iota(values.begin(), values.end(), first);
  return values;
}

const Values kFourBits = range(-8, 7), kTwoBits = {-1, 0, 1}, kOneValue = {-7},
             kCodebook = {-127, -100, -64, -33, -17, -9, -4, 0, 3, 5, 11, 21, 40, 63, 99, 127},
             kPowers = {-64, -32, -16, -8, -4, -2, -1, 0, 1, 2, 4, 8, 16, 32, 64}, kNoZero = range(-8, -1);

// The layer's weights that are not zero: any of these values, each of them somewhere if there is room.
void set_values(Layer& layer, const Values& values, Random& random) {
  std::size_t next = 0;
  for (int8_t& weight : layer.weight) {
    if (weight == 0) continue;
    const auto chosen = static_cast<std::size_t>(random.integer(0, static_cast<int32_t>(values.size()) - 1));
    weight = static_cast<int8_t>(values[next < values.size() ? next : chosen]);
    ++next;
  }
}

// Packed with outputs along the vectors, as 4 bits; null where the kernel can't.
std::unique_ptr<WideConv> packed_of(const Layer& layer, Isa isa) {
  const ConvKernels& kernels = select_conv(isa);
  const ConvWeights weights{layer.weight.data(), layer.bias.data(), layer.multiplier.data()};
  const auto nibbles = find_nibbles(layer.weight, kernels);
  if (!nibbles || !WideConv::possible(layer.params, kernels)) return nullptr;
  auto packed = std::make_unique<WideConv>(layer.params, weights, kernels, nibbles, "");
  CHECK_EQ(std::string(packed->kernel()), "conv_wide4_" + std::string(isa_name(isa)));
  return packed;
}

// vpmaddubsw adds products of two weights in 16 bits.
bool fits(const Values& values, Isa isa) {
  return !select_conv(isa).pairs || std::all_of(values.begin(), values.end(), [](int value) { return std::abs(value) <= 64; });
}

// Tokens for each step of a tile, several steps, several tiles; channels and outputs that fill groups, vectors and blocks, or not.
TEST(conv_of_4_bits_matches_the_formula) {
  Random random(21);
  const struct {
    int32_t channels, outputs;
    const Values& values;
  } cases[] = {{33, 70, kFourBits}, {5, 129, kTwoBits},   {128, 64, kCodebook}, {1, 1, kOneValue},
               {418, 17, kPowers},  {70, 200, kFourBits}, {9, 31, kNoZero}};
  for (const auto& c : cases)
    for (const int32_t tokens : {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 18, 63, 64, 65, 70}) {
      if (testing::emulated() && tokens > 13 && tokens != 65) continue;
      const Variant& variant = kVariants[static_cast<std::size_t>(tokens) % std::size(kVariants)];
      Layer layer = make_layer({tokens, c.channels, 1, 1, c.outputs, 1, 1, 1, 1, 0, 1, 1, 1, 0.1}, random, variant);
      set_values(layer, c.values, random);
      const Expected expected = expect(layer);
      for (const Isa isa : testing::swept_isas()) {
        const auto packed = packed_of(layer, isa);
        CHECK_EQ(packed != nullptr, fits(c.values, isa));
        if (packed) check_packed(layer, expected, *packed, 1 + tokens % 2);
      }
    }
}

// Every way to finish a tile.
TEST(conv_of_4_bits_has_every_output) {
  Random random(22);
  for (const Variant& variant : kVariants)
    for (const int32_t tokens : {1, 5, 9}) {
      Layer layer = make_layer({tokens, 130, 1, 1, 67, 1, 1, 1, 1, 0, 1, 1, 1, 0.1}, random, variant);
      set_values(layer, variant.extreme ? Values{-64, 64} : kFourBits, random);
      const Expected expected = expect(layer);
      for (const Isa isa : testing::swept_isas()) check_packed(layer, expected, *packed_of(layer, isa), 1);
    }
}

// Taps, strides and padding: rows of a panel.
TEST(conv_of_4_bits_with_taps) {
  Random random(23);
  for (const Case& c : {Case{1, 21, 4, 3, 70, 3, 3, 1, 1, 1, 1, 1, 1, 0.1}, Case{2, 64, 5, 5, 32, 3, 2, 2, 2, 1, 1, 2, 1, 0.1},
                        Case{3, 40, 3, 3, 130, 1, 1, 1, 1, 0, 1, 1, 1, 0.1}}) {
    Layer layer = make_layer(c, random, {.residual = c.images == 2});
    set_values(layer, kFourBits, random);
    const Expected expected = expect(layer);
    for (const Isa isa : testing::swept_isas()) {
      const auto packed = packed_of(layer, isa);
      CHECK_EQ(packed != nullptr, c.kernel_h == 1 || !select_conv(isa).pairs);
      if (packed) check_packed(layer, expected, *packed, 1);
    }
  }
}

TEST(conv_of_4_bits_takes_half_the_memory) {
  Random random(24);
  Layer layer = make_layer({1, 1024, 1, 1, 512, 1, 1, 1, 1, 0, 1, 1, 1, 0.0}, random, {});
  layer.params.expected_pixels = 1;
  const auto bytes = [&](Isa isa) {
    const ConvWeights weights{layer.weight.data(), layer.bias.data(), layer.multiplier.data()};
    return pack_conv(layer.params, weights, isa, ConvKind::dense)->bytes();
  };
  for (const Isa isa : testing::swept_isas()) {
    layer.weight[0] = 100;
    set_values(layer, range(-9, 9), random);
    const int64_t wide = bytes(isa), constants = wide - 1024 * 512;
    CHECK(constants >= 512 * 8);
    set_values(layer, kTwoBits, random);
    CHECK_EQ(bytes(isa), 1024 * 512 / 2 + constants);
  }
}

// Beside blocks of zeros, too; not where all of them are in the L1 cache.
TEST(conv_of_4_bits_is_chosen_for_linear_layers) {
  Random random(25);
  const auto kernel = [&](int32_t channels, double zeros, Isa isa) {
    Layer layer = make_layer({1, channels, 1, 1, 512, 1, 1, 1, 1, 0, 1, 1, 1, zeros}, random, {});
    layer.params.expected_pixels = 1;
    set_values(layer, kFourBits, random);
    const ConvWeights weights{layer.weight.data(), layer.bias.data(), layer.multiplier.data()};
    return std::string(pack_conv(layer.params, weights, isa, ConvKind::automatic)->kernel());
  };
  for (const Isa isa : testing::swept_isas()) {
    const std::string name(isa_name(isa));
    CHECK_EQ(kernel(512, 0.1, isa), "conv_wide4_" + name);
    CHECK_EQ(kernel(64, 0.1, isa), "conv_wide_" + name);
    CHECK_EQ(kernel(512, 0.9, isa), "conv_pick_" + name);
  }
}

TEST(nibbles_are_of_sixteen_values_with_zero) {
  const auto found = [](const Values& values, bool pairs) {
    const std::vector<int8_t> weights(values.begin(), values.end());
    ConvKernels kernels{};
    kernels.pairs = pairs;
    return find_nibbles(weights, kernels);
  };
  CHECK(found(kFourBits, false) && found(kFourBits, true) && found(kPowers, true) && found({}, false));
  CHECK(found(range(1, 15), false) && !found(range(1, 16), false));  // zero is the sixteenth
  CHECK(!found(range(-8, 8), false));
  CHECK(found(kCodebook, false) && !found(kCodebook, true));
  CHECK(found({-64, 64}, true) && !found({65}, true) && !found({-65}, true));
  const auto nibbles = found({5, -3, 5}, false);
  CHECK_EQ(int{nibbles->table[nibbles->numbers[5]]}, 5);
  CHECK_EQ(int{nibbles->table[nibbles->numbers[0]]}, 0);
  CHECK_EQ(int{nibbles->table[nibbles->numbers[256 - 3]]}, -3);
}

}  // namespace
}  // namespace niwaki
