// Every set of convolution kernels against a loop over NCHW that is written here once more, ==.
#include "testing/test.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include "base/memory.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/kernel.h"
#include "kernels/conv/rows.h"
#include "kernels/conv/sparse_lists.h"
#include "kernels/conv/test_layers.h"
#include "testing/emulation.h"

namespace niwaki {
namespace {

const Case kCases[] = {
    // images channels height width outputs kernel stride pad dilation groups zeros
    {1, 4, 1, 1, 4, 1, 1, 1, 1, 0, 1, 1, 1, 0.0},
    {1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0.0},
    {1, 8, 4, 4, 8, 1, 1, 1, 1, 0, 1, 1, 1, 0.5},
    {2, 16, 7, 7, 20, 1, 1, 1, 1, 0, 1, 1, 1, 0.8},
    {1, 3, 17, 19, 16, 7, 7, 2, 2, 3, 1, 1, 1, 0.0},
    {1, 12, 9, 11, 12, 3, 3, 1, 1, 1, 1, 1, 1, 0.7},
    {3, 20, 7, 7, 33, 3, 3, 1, 1, 1, 1, 1, 1, 0.85},
    {1, 64, 14, 14, 24, 3, 3, 2, 2, 1, 1, 1, 1, 0.85},
    {1, 40, 13, 5, 17, 1, 1, 2, 2, 0, 1, 1, 1, 0.5},
    {1, 8, 10, 12, 8, 3, 3, 1, 1, 2, 2, 2, 1, 0.3},
    {1, 8, 11, 12, 5, 3, 1, 1, 2, 1, 1, 3, 1, 0.3},
    {2, 8, 3, 3, 8, 5, 5, 1, 1, 2, 1, 1, 1, 0.9},
    {1, 16, 5, 6, 16, 3, 3, 1, 1, 1, 1, 1, 4, 0.0},
    {1, 12, 5, 6, 18, 3, 3, 1, 1, 1, 1, 1, 6, 0.0},
    {1, 15, 8, 8, 10, 3, 3, 2, 2, 1, 1, 1, 5, 0.0},
    {1, 48, 6, 6, 48, 3, 3, 1, 1, 1, 1, 1, 6, 0.0},
    {2, 6, 9, 9, 6, 3, 3, 1, 1, 1, 1, 1, 6, 0.0},
    {1, 7, 16, 3, 9, 2, 3, 1, 1, 0, 1, 1, 1, 0.4},
    {1, 516, 3, 5, 9, 1, 1, 1, 1, 0, 1, 1, 1, 0.85},
    {1, 260, 6, 6, 8, 3, 3, 1, 1, 1, 1, 1, 1, 0.9},
    {1, 8, 2, 2, 8, 3, 3, 1, 1, 1, 1, 1, 1, 1.0},
    // More outputs than sums are kept for between chunks: with panels that are kept, and with such as are filled again.
    {1, 520, 5, 7, 270, 1, 1, 2, 2, 0, 1, 1, 1, 0.9},
    {1, 400, 2, 2, 264, 3, 3, 1, 1, 1, 1, 1, 1, 0.95},
    {5, 70, 1, 1, 100, 1, 1, 1, 1, 0, 1, 1, 1, 0.5},
    {1, 256, 1, 1, 67, 1, 1, 1, 1, 0, 1, 1, 1, 0.9},
    {13, 33, 1, 1, 64, 1, 1, 1, 1, 0, 1, 1, 1, 0.0},
    {0, 8, 5, 5, 8, 3, 3, 1, 1, 1, 1, 1, 1, 0.0},
    {0, 8, 1, 1, 8, 1, 1, 1, 1, 0, 1, 1, 1, 0.0},
    // Linear layers over many tokens.
    {31, 33, 1, 1, 70, 1, 1, 1, 1, 0, 1, 1, 1, 0.5},
    {129, 260, 1, 1, 147, 1, 1, 1, 1, 0, 1, 1, 1, 0.8},
    {1, 8, 1, 50, 300, 1, 3, 1, 1, 1, 1, 1, 1, 0.6},
    {1, 16, 4, 4, 16, 4, 4, 4, 4, 0, 1, 1, 1, 0.0},
    // Several bands, in one image and with tiles that belong to two.
    {1, 4, 40, 70, 8, 7, 7, 1, 1, 3, 1, 1, 1, 0.0},
    {2, 12, 24, 20, 16, 3, 3, 1, 1, 1, 1, 1, 1, 0.6},
    {1, 8, 20, 30, 8, 3, 3, 1, 1, 2, 2, 2, 1, 0.4},
    {3, 8, 7, 7, 8, 5, 5, 1, 1, 2, 1, 1, 1, 0.0},
    // Groups whose blocks have bands of their own: one group in a block, two, a part of one, channels that are no whole fours.
    {1, 12, 40, 70, 12, 3, 3, 1, 1, 1, 1, 1, 3, 0.0},
    {3, 16, 7, 7, 32, 3, 3, 1, 1, 1, 1, 1, 2, 0.0},
    {2, 10, 24, 20, 15, 5, 3, 1, 1, 2, 1, 1, 5, 0.0},
    {1, 24, 20, 33, 16, 3, 3, 1, 1, 2, 2, 2, 2, 0.0},
    {2, 12, 9, 9, 24, 1, 1, 1, 1, 0, 1, 1, 2, 0.0},
    {1, 48, 14, 14, 96, 3, 3, 1, 1, 1, 1, 1, 3, 0.85},
    {2, 32, 9, 9, 32, 3, 3, 2, 2, 1, 1, 1, 4, 0.9},
    // Rows that begin anywhere in a vector; up to four pixels after the last vector; tiles without a neighbour that is alike.
    {1, 8, 21, 16, 8, 3, 3, 1, 1, 1, 1, 1, 2, 0.0},
    {1, 16, 25, 48, 8, 3, 3, 1, 1, 1, 1, 1, 2, 0.0},
    {2, 8, 26, 20, 8, 3, 3, 1, 1, 1, 1, 1, 2, 0.0},
    {1, 24, 31, 28, 24, 3, 3, 1, 1, 1, 1, 1, 2, 0.0},
    {1, 8, 23, 36, 16, 5, 5, 1, 1, 2, 1, 1, 2, 0.0},
    {1, 24, 7, 7, 20, 3, 3, 1, 1, 1, 1, 1, 4, 0.0},
    {1, 12, 14, 14, 24, 3, 3, 1, 1, 1, 1, 1, 3, 0.0},
    {1, 8, 5, 10, 8, 3, 3, 1, 1, 1, 1, 1, 2, 0.0},
    {1, 16, 8, 8, 16, 3, 3, 1, 1, 1, 1, 1, 2, 0.0},
    {1, 8, 24, 40, 124, 3, 3, 1, 1, 1, 1, 1, 2, 0.0},
    {1, 8, 9, 33, 16, 1, 2, 1, 1, 0, 1, 1, 2, 0.0},
    {3, 24, 6, 11, 24, 1, 1, 1, 1, 0, 1, 1, 6, 0.0},
    // Of more channels than one panel holds, whose blocks have neighbouring and common groups of them.
    {2, 60, 12, 17, 60, 3, 3, 1, 2, 1, 1, 2, 5, 0.0},
    {1, 160, 9, 9, 160, 3, 3, 3, 3, 1, 1, 1, 2, 0.0},
    {1, 108, 11, 13, 90, 5, 5, 1, 3, 2, 1, 1, 9, 0.0},
    // Bands in rows: strides, windows that end with the image, several rows of taps to a remainder.
    {2, 12, 23, 81, 20, 3, 3, 2, 2, 1, 1, 1, 1, 0.3},
    {1, 16, 30, 30, 16, 3, 3, 2, 2, 1, 1, 1, 4, 0.0},
    {1, 16, 14, 14, 16, 3, 3, 2, 2, 1, 1, 1, 2, 0.0},
    {2, 16, 29, 28, 8, 3, 3, 2, 2, 1, 1, 1, 4, 0.0},
    {1, 8, 40, 112, 8, 3, 4, 2, 2, 1, 1, 1, 2, 0.0},
    {1, 8, 20, 37, 12, 3, 5, 1, 1, 0, 2, 3, 1, 0.0},
    {2, 8, 37, 40, 12, 5, 5, 3, 2, 2, 1, 2, 2, 0.0},
    {1, 8, 33, 21, 8, 2, 4, 1, 2, 3, 1, 1, 1, 0.2},
    {3, 12, 9, 8, 12, 1, 1, 2, 2, 0, 1, 1, 1, 0.0},
    {1, 4, 7, 60, 8, 4, 1, 4, 1, 2, 1, 1, 1, 0.0},
};

// The expected values are worked out once for all instruction sets: they cost more than the kernels.
TEST(conv_of_every_isa_matches_the_formula) {
  Random random(7);
  for (const Case& c : kCases)
    for (const Variant& variant : kVariants) {
      Layer layer = make_layer(c, random, variant);
      const Expected expected = expect(layer);
      for (const Isa isa : testing::swept_isas())
        for (const ConvKind kind : {ConvKind::automatic, ConvKind::dense, ConvKind::sparse}) {
          check_layer(layer, expected, isa, kind, 1);
          if (!variant.extreme && !variant.plain) check_layer(layer, expected, isa, kind, 3);
          if (kind != ConvKind::automatic) check_layer(layer, expected, isa, kind, 1 + variant.residual, 1);
          if (kind != ConvKind::dense) continue;
          // A matrix unit has these layers, however small they are, where many pixels are expected.
          if (select_conv(isa).matrix) check_layer(layer, expected, isa, kind, 1 + variant.residual, kManyPixels);
        }
    }
}

// Whatever comes together: strides, paddings, dilations, groups and sizes at random.
TEST(conv_of_random_shapes) {
  Random random(13);
  for (int round = 0; round < 150; ++round) {
    Case c{};
    c.images = random.integer(1, 3);
    c.groups = std::vector{1, 1, 2, 3, 8}[static_cast<std::size_t>(random.integer(0, 4))];
    c.channels = c.groups * random.integer(1, c.groups == 1 ? 20 : 9);
    c.outputs = c.groups * random.integer(1, c.groups == 1 ? 20 : 9);
    c.kernel_h = random.integer(1, 5), c.kernel_w = random.integer(1, 5);
    c.stride_h = random.integer(1, 3), c.stride_w = random.integer(1, 3);
    c.dilation_h = random.integer(1, 2), c.dilation_w = random.integer(1, 2);
    c.pad = random.integer(0, 3);
    const auto least = [&](int32_t kernel, int32_t dilation) { return std::max(1, (kernel - 1) * dilation + 1 - 2 * c.pad); };
    c.height = least(c.kernel_h, c.dilation_h) + random.integer(0, 30);
    c.width = least(c.kernel_w, c.dilation_w) + random.integer(0, 60);
    c.zeros = 0.5;
    Layer layer = make_layer(c, random, {.residual = round % 3 == 0});
    const Expected expected = expect(layer);
    for (const Isa isa : testing::swept_isas())
      check_layer(layer, expected, isa, round % 4 == 0 ? ConvKind::automatic : ConvKind::dense, 1 + round % 2);
  }
}

// Planes from one pixel to past the widest tile, so that every remainder of a tile and of a vector comes up.
TEST(conv_tile_edges) {
  Random random(3);
  for (int32_t width = 1; width <= 150; width += width < 70 ? 1 : 13) {
    const Case c{1, 8, 1, width, 12, 1, 3, 1, 1, 1, 1, 1, 1, 0.5};
    Layer layer = make_layer(c, random, {.residual = width % 2 == 0});
    const Expected expected = expect(layer);
    for (const Isa isa : testing::swept_isas()) {
      check_layer(layer, expected, isa, ConvKind::dense, 1);
      check_layer(layer, expected, isa, ConvKind::dense, 1, 1);
      check_layer(layer, expected, isa, ConvKind::dense, 1, kManyPixels);
      check_layer(layer, expected, isa, ConvKind::sparse, 1);
    }
  }
}

// The same with groups of four channels, of whose tiles kernels take many at a time.
TEST(conv_tile_edges_of_groups) {
  Random random(29);
  for (int32_t width = 1; width <= 270; width += width < 210 ? 1 : 17) {
    const Variant variant{.residual = width % 2 == 0, .float_output = width % 7 == 5, .plain = width % 3 == 0};
    Layer layer = make_layer({1, 8, 1, width, 8, 1, 3, 1, 1, 1, 1, 1, 2, 0.0}, random, variant);
    const Expected expected = expect(layer);
    for (const Isa isa : testing::swept_isas()) check_layer(layer, expected, isa, ConvKind::dense, 1 + width % 5 / 4);
  }
}

// A layer's blocks with weights, and those that a tile multiplies, counted here by looking at each weight and at each list.
TEST(conv_blocks_are_counted) {
  Random random(11);
  for (const Case& c :
       {Case{1, 7, 4, 4, 5, 3, 3, 1, 1, 1, 1, 1, 1, 0.6}, Case{1, 64, 4, 4, 40, 1, 1, 1, 1, 0, 1, 1, 1, 0.8},
        Case{1, 300, 9, 9, 37, 3, 3, 1, 1, 1, 1, 1, 1, 0.85}, Case{1, 18, 9, 9, 9, 5, 5, 1, 1, 1, 1, 1, 1, 0.5}}) {
    const Layer layer = make_layer(c, random, {});
    const int64_t taps = int64_t{c.kernel_h} * c.kernel_w;
    for (const ConvKernels& kernels : conv_kernels()) {
      const SparseCut cut(layer.params, kernels);
      int64_t held = 0, multiplied = 0;
      for (int32_t chunk = 0; chunk < cut.chunks; ++chunk) {
        std::vector<int64_t> lists(static_cast<std::size_t>(cut.outputs), 0);
        for (int32_t o = 0; o < c.outputs; ++o)
          for (int32_t first = cut.begin(chunk) * 4; first < std::min(cut.end(chunk) * 4, c.channels); first += 4)
            for (int64_t tap = 0; tap < taps; ++tap) {
              bool any = false;
              for (int32_t i = first; i < std::min(first + 4, c.channels); ++i)
                any = any || layer.weight[static_cast<std::size_t>((int64_t{o} * c.channels + i) * taps + tap)] != 0;
              lists[static_cast<std::size_t>(o)] += any;
            }
        for (const int64_t length : lists) held += length;
        if (chunk + 1 < cut.chunks)
          for (std::size_t i = 0; i < lists.size(); i += kSparseBlock)
            std::sort(lists.begin() + static_cast<std::ptrdiff_t>(i),
                      lists.begin() + static_cast<std::ptrdiff_t>(std::min(i + kSparseBlock, lists.size())));
        const auto together = static_cast<std::size_t>(kernels.sparse_lists);
        for (std::size_t i = 0; i < lists.size(); i += together) {
          const int64_t longest = *std::max_element(lists.begin() + static_cast<std::ptrdiff_t>(i),
                                                    lists.begin() + static_cast<std::ptrdiff_t>(i + together));
          multiplied += together == 1 ? (longest + 1) / 2 * 2 : longest * static_cast<int64_t>(together);
        }
      }
      const BlockCount count = count_blocks(layer.params, layer.weight.data(), kernels, cut);
      CHECK_EQ(count.held, held);
      CHECK_EQ(count.multiplied, multiplied);
    }
  }
}

// Each row looked up by itself, for kernels of 1 to 27 taps, channels that leave a group of four unfilled, and groups that begin within one.
TEST(conv_rows_hold_four_channels_of_a_tap) {
  Random random(12);
  for (const int32_t taps : {1, 2, 3, 7, 8, 9, 15, 16, 17, 25, 27}) {
    for (const int32_t channels : {1, 3, 4, 5, 8, 10}) {
      for (const int32_t groups : {1, 2, 3}) {
        ConvParams params{};
        params.in_channels = channels * groups;
        params.out_channels = 2 * groups;
        params.groups = groups;
        params.kernel_h = 1;
        params.kernel_w = taps;
        std::vector<int8_t> weight(static_cast<std::size_t>(int64_t{params.out_channels} * channels * taps));
        for (int8_t& value : weight) value = static_cast<int8_t>(random.integer(-127, 127));
        WeightRows source(params, weight.data());
        const int32_t all = (params.in_channels + 3) / 4;
        for (int32_t o = 0; o < params.out_channels; ++o) {
          for (int32_t begin = 0; begin < all; ++begin) {
            const int8_t* rows = source.of(o, begin, all);
            for (int32_t group = begin; group < all; ++group)
              for (int32_t tap = 0; tap < taps; ++tap)
                for (int32_t i = 0; i < 4; ++i) {
                  const int32_t channel = group * 4 + i - o / 2 * channels;
                  const int expected = channel < 0 || channel >= channels
                                           ? 0
                                           : weight[static_cast<std::size_t>((int64_t{o} * channels + channel) * taps + tap)];
                  CHECK_EQ(int{rows[((group - begin) * taps + tap) * 4 + i]}, expected);
                }
          }
        }
      }
    }
  }
}

TEST(conv_selection_follows_the_isa) {
  for (const Isa isa : supported_isas()) CHECK_EQ(std::string(select_conv(isa).name), std::string(isa_name(isa)));
}

TEST(conv_chooses_sparse_kernels_only_where_zeros_are_many) {
  Random random(5);
  for (const double zeros : {0.0, 0.97}) {
    const Layer layer = make_layer({1, 256, 14, 14, 256, 3, 3, 1, 1, 1, 1, 1, 1, zeros}, random, {});
    const ConvWeights weights{layer.weight.data(), layer.bias.data(), layer.multiplier.data()};
    const auto packed = pack_conv(layer.params, weights, current_isa(), ConvKind::automatic);
    CHECK_EQ(packed->sparse(), zeros > 0.5);
    CHECK(!packed->reason().empty());
    if (zeros > 0.5) CHECK(packed->bytes() < pack_conv(layer.params, weights, current_isa(), ConvKind::dense)->bytes());
  }
}

TEST(conv_has_a_matrix_unit_for_layers_without_groups) {
  Random random(8);
  for (const Isa isa : testing::swept_isas()) {
    if (!select_conv(isa).matrix) continue;
    const auto kernel = [&](const Case& c, int64_t pixels) {
      Layer layer = make_layer(c, random, {});
      layer.params.expected_pixels = pixels;
      const ConvWeights weights{layer.weight.data(), layer.bias.data(), layer.multiplier.data()};
      return std::string(pack_conv(layer.params, weights, isa, ConvKind::automatic)->kernel());
    };
    const std::string name = isa_name(isa);
    const Case whole{1, 64, 7, 7, 64, 3, 3, 1, 1, 1, 1, 1, 1, 0.0}, groups{1, 64, 7, 7, 64, 3, 3, 1, 1, 1, 1, 1, 4, 0.0};
    CHECK_EQ(kernel(whole, 0), "conv_matrix_" + name);
    CHECK_EQ(kernel(whole, 49), "conv_matrix_" + name);
    CHECK_EQ(kernel(whole, 1), "conv_wide_" + name);
    CHECK_EQ(kernel(groups, 49), "conv_dense_avx512vnni");
  }
}

// Sparse linear layers of few rows: a tile and more, and less, of outputs; windows that are the whole row and a part of it.
TEST(conv_picks_for_single_rows) {
  Random random(12);
  for (const int32_t rows : {1, 3})
    for (const auto& [channels, outputs, zeros] :
         {std::tuple{70, 200, 0.8}, {513, 64, 0.85}, {128, 65, 0.5}, {1030, 31, 0.95}, {5, 129, 0.3}})
      for (const Variant& variant : kVariants) {
        Layer layer = make_layer({rows, channels, 1, 1, outputs, 1, 1, 1, 1, 0, 1, 1, 1, zeros}, random, variant);
        const Expected expected = expect(layer);
        for (const Isa isa : testing::swept_isas()) {
          check_layer(layer, expected, isa, ConvKind::sparse, 1 + variant.residual, 1);
          const ConvWeights weights{layer.weight.data(), layer.bias.data(), layer.multiplier.data()};
          const std::string kernel = pack_conv(layer.params, weights, isa, ConvKind::sparse)->kernel();
          CHECK_EQ(kernel, (select_conv(isa).pick ? "conv_pick_" : "conv_sparse_") + std::string(isa_name(isa)));
        }
      }
}

// Many tokens are worth a sparse kernel where one is not: its weights come from memory once, whichever kernel it is.
TEST(conv_chooses_kernels_of_linear_layers_by_their_tokens) {
  Random random(6);
  for (const Isa isa : testing::swept_isas()) {
    Layer sparse = make_layer({1, 384, 1, 1, 384, 1, 1, 1, 1, 0, 1, 1, 1, 0.97}, random, {});
    Layer dense = make_layer({1, 384, 1, 1, 384, 1, 1, 1, 1, 0, 1, 1, 1, 0.0}, random, {});
    const auto kernel = [isa](Layer& layer, int64_t tokens) {
      layer.params.expected_pixels = tokens;
      const ConvWeights weights{layer.weight.data(), layer.bias.data(), layer.multiplier.data()};
      return std::string(pack_conv(layer.params, weights, isa, ConvKind::automatic)->kernel());
    };
    const std::string name = isa_name(isa);
    CHECK_EQ(kernel(sparse, 128), "conv_sparse_" + name);
    if (select_conv(isa).pick) CHECK_EQ(kernel(sparse, 1), "conv_pick_" + name);
    CHECK_EQ(kernel(dense, 1), "conv_wide_" + name);
    const bool long_panels =
        isa == Isa::avx2 || isa == Isa::neon || isa == Isa::i8mm;  // whose dense kernels are faster for many tokens
    const char* const many = select_conv(isa).matrix ? "conv_matrix_" : long_panels ? "conv_dense_" : "conv_wide_";
    CHECK_EQ(kernel(dense, 128), many + name);
  }
}

}  // namespace
}  // namespace niwaki
