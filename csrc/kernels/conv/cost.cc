#include "kernels/conv/cost.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/memory.h"
#include "kernels/conv/packed.h"
#include "kernels/conv/pick_lists.h"

namespace niwaki {
namespace {

// What the models count, of one image of the expected size; of a single vector in a full tile where no size is expected.
struct Work {
  double rows, outputs;
  double dense_rows;        // less those that are zero for every output
  double held, multiplied;  // blocks
  double lists;             // an output in a chunk is one
  double chunks;
  double vectors, tiles;  // of pixels; tiles of the sparse kernel
  double dense_vectors;   // as the dense kernel takes them, which has single pixels after its vectors
  bool panel;             // whether the dense kernel reads a panel

  double vectors_of_tile() const { return vectors / tiles; }
};

Work work_of(const ConvParams& params, const int8_t* weight, const ConvKernels& kernels, const SparseCut& cut,
             const BlockCount& blocks) {
  Work work{};
  work.rows = static_cast<double>(cut.groups) * cut.taps;
  work.dense_rows = static_cast<double>(rows_of(find_taps(params, weight)));
  work.outputs = params.out_channels;
  work.held = static_cast<double>(blocks.held);
  work.multiplied = static_cast<double>(blocks.multiplied);
  work.chunks = cut.chunks;
  work.lists = static_cast<double>(cut.outputs) * cut.chunks;
  work.panel = kernels.flip != 0 || cut.taps > 1 || params.stride_h > 1 || params.stride_w > 1;
  if (params.expected_pixels == 0) {
    work.vectors = work.dense_vectors = 1.0;
    work.tiles = 1.0 / kernels.sparse_vectors;
    return work;
  }
  work.vectors = work.dense_vectors = static_cast<double>(div_up(params.expected_pixels, kernels.lanes));
  work.tiles = std::ceil(work.vectors / cut.vectors);
  const int64_t whole = params.expected_pixels / kernels.lanes, rest = params.expected_pixels % kernels.lanes;
  if (rest > 0 && rest <= div_up(whole, kernels.dense_vectors) * kernels.dense_tail)
    work.dense_vectors = static_cast<double>(whole) + static_cast<double>(rest) / kernels.dense_outputs;
  return work;
}

// AVX-512, whose sparse kernel works on four lists side by side. Cycles, fitted to the layers of ResNets with 30 to 85 % of their blocks
// zero, on a Zen 5: a multiply-accumulate of a vector; a set of lists in a tile, with the end of its loop and its output; sums that wait
// between chunks; weights, once for an image, from beyond the L2 cache; a vector of a panel; a vector of an output.
void cost_of_sets(const Work& work, const ConvKernels& kernels, ConvCost& cost) {
  const double sets = work.lists / kernels.sparse_lists;
  const double weights = work.vectors > 1.0 ? 0.37 * work.multiplied : 0.0;
  cost.sparse = 0.6 * work.multiplied * work.vectors + 90.0 * sets * work.tiles +
                0.1 * (work.lists - work.outputs) * work.vectors + weights + 3.15 * work.rows * work.vectors;
  cost.dense = 0.5 * work.dense_rows * work.outputs * work.dense_vectors + 2.8 * work.outputs * work.vectors +
               (work.panel ? 3.2 * work.dense_rows * work.vectors : 0.0) +
               (work.vectors > 1.0 ? 0.02 * work.dense_rows * work.outputs : 0.0);
}

// AVX2 and AVX-VNNI, one list at a time. `mac`: cycles of a multiply-accumulate of a vector; of pairs of rows (row_pairs.h) the more the fewer
// rows there are, because weights of outputs with few of them are large next to the largest, and find fewer partners. A block costs a little
// more than a dense row, because its pixels are loaded for one output only. A list costs the end of its loop, which is mispredicted the more
// often the longer lists are, and the way of its sums to memory and back.
void cost_of_lists(const Work& work, double mac, ConvCost& cost) {
  const double list = std::min(36.0, 14.0 + 2.0 * work.held / work.lists);
  cost.dense = work.dense_rows * work.outputs * mac * work.dense_vectors + work.outputs * 3.0 * work.vectors;
  cost.sparse = (work.held * mac * 1.2 + work.lists * (list / work.vectors_of_tile() + 1.0) + work.rows * 2.0) * work.vectors;
}

// Arm: instructions, because no board was there to time; docs/arm.md has the counts. Of the innermost loops, per vector of four pixels: a
// dense row for one output; a sparse block, whose address and weights are shared by the vectors of a tile. The end of a list is
// mispredicted: about as long as 25 instructions. A vector's sums take 7 instructions to become bytes, and 3 more to go to memory and back.
void cost_on_arm(const Work& work, Isa isa, ConvCost& cost) {
  const double dense = isa == Isa::neon ? 4.0 : isa == Isa::i8mm ? 0.96 : 1.33;
  const double sparse = isa == Isa::neon ? 3.5 : 1.5, block = isa == Isa::neon ? 5.5 : 4.0;
  const double vectors = work.vectors_of_tile(), list = 30.0 + 25.0, panel = work.rows * 4.0;
  cost.dense =
      (work.dense_rows * work.outputs * dense + work.outputs * 6.0 + (work.panel ? work.dense_rows * 4.0 : 0.0)) * work.vectors;
  cost.sparse = (work.held * (sparse + block / vectors) + work.lists * list / vectors + work.outputs * 7.0 +
                 (work.lists - work.outputs) * 3.0 + panel) *
                work.vectors;
}

// AMX, in the cycles of cost_of_sets: fitted to the layers of ResNets with all of their blocks and with 15 and 25 % of them, in the network, on
// a Xeon with 2 MiB of L2 cache whose other hyperthreads were idle, by what sparse kernels take there; then a tenth more, because a busy
// neighbour slows the matrix unit by more than it slows vectors (sparse layers take 1.7 times as long then, these 2.3 times). A
// multiply-accumulate of a vector; a vector of an output; one of a panel; weights, once for an image. Where pixels fill one vector only,
// multiplies wait for each other.
double cost_on_matrix(const Work& work) {
  const double rows = std::ceil(work.rows / 16.0) * 16.0, outputs = std::ceil(work.outputs / 16.0) * 16.0;
  const bool many = work.vectors > 1.0;
  return ((many ? 0.08 : 0.12) * rows * outputs + 7.0 * work.outputs + (work.panel ? 6.7 * work.rows : 0.0)) * work.vectors +
         (many ? 0.6 * work.rows * work.outputs : 0.0);
}

// A linear layer with outputs along the vectors: no lane is ever empty, whatever the number of pixels. `factor`: the innermost loop's cost
// compared with that of the dense kernel. `least`: a few pixels wait for their weights, or for one multiply after the other, as long as so
// many take: fewer where weights are half as large. Measured on x86; on Arm by instructions.
double cost_of_wide(const ConvParams& params, const Work& work, const ConvKernels& kernels, const ConvCost& cost,
                    int32_t weight_bits) {
  const bool four = weight_bits == 4;
  double factor = 1.0, least = 4.0;
  switch (kernels.isa) {
    case Isa::amx: factor = 0.95, least = four ? 3.0 : 4.0; break;
    case Isa::avx512vnni: least = four ? 3.0 : 4.0; break;
    // Widens bytes to words as it goes, where they are not small.
    case Isa::avx2: factor = four ? 1.7 : 2.4, least = four ? 1.65 : 1.3; break;
    case Isa::neon: factor = 1.1, least = 1.2; break;
    case Isa::dotprod: least = 2.5; break;
    case Isa::i8mm: factor = 1.35, least = 2.5; break;
    default: break;
  }
  const double pixels = std::max(least, static_cast<double>(params.expected_pixels));
  return cost.dense / (work.vectors * kernels.lanes) * pixels * factor;
}

// A step of a set of lists: in cycles, against a dense kernel that may wait for its weights where they are more than half of an L2 cache; on
// Arm in instructions.
double pick_step(Isa isa, const Work& work) {
  constexpr double kCached = 512.0 * 1024.0;
  const bool cached = work.rows * work.outputs * 4.0 <= kCached;
  switch (isa) {
    case Isa::scalar: return 200.0;
    case Isa::avx2: return 6.0;  // widens its bytes as it goes
    case Isa::neon: return 9.5;
    case Isa::dotprod:
    case Isa::i8mm: return 8.0;
    default: return cached ? 4.0 : 3.1;
  }
}

// A sparse linear layer of few rows, one after the other: the steps of its sets; the ends of a tile's lists, and its output; a row's channels,
// brought together.
double cost_of_picks(const ConvParams& params, const int8_t* weight, const ConvKernels& kernels, const Work& work) {
  constexpr int64_t kFew = 8;
  if (!PickConv::possible(params, kernels) || params.expected_pixels < 1 || params.expected_pixels > kFew)
    return std::numeric_limits<double>::infinity();
  const double tiles = std::ceil(work.outputs / (kPickSets * kernels.lanes));
  return static_cast<double>(params.expected_pixels) *
         (pick_step(kernels.isa, work) * count_picks(params, weight, kernels) + 60.0 * tiles + 1.0 * work.rows);
}

}  // namespace

ConvCost conv_cost(const ConvParams& params, const int8_t* weight, const ConvKernels& kernels, const SparseCut& cut,
                   int32_t weight_bits) {
  const BlockCount blocks = count_blocks(params, weight, kernels, cut);
  const Work work = work_of(params, weight, kernels, cut, blocks);
  ConvCost cost{};
  cost.filled = work.rows > 0 ? work.held / (work.rows * work.outputs) : 0.0;
  if (isa_includes(kernels.isa, Isa::neon)) cost_on_arm(work, kernels.isa, cost);
  else if (kernels.sparse_lists > 1) cost_of_sets(work, kernels, cost);
  else cost_of_lists(work, kernels.isa == Isa::scalar ? 40.0 : kernels.pairs ? 0.83 + 6.0 / work.rows : 0.5, cost);
  if (params.linear || kernels.matrix) cost.wide = cost_of_wide(params, work, kernels, cost, weight_bits);
  if (kernels.matrix) cost.dense = cost_on_matrix(work);
  cost.pick = cost_of_picks(params, weight, kernels, work);
  if (params.linear &&
      params.float_output) {  // what the other kernels make is turned from planes into rows: see store_float_tile
    const double turning = 0.7 * work.outputs * work.vectors * kernels.lanes;
    cost.dense += turning;
    cost.sparse += turning;
  }
  return cost;
}

}  // namespace niwaki
