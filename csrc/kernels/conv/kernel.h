// What the kernels of a convolution take, and the rows of kernels.inc. Nothing here knows shapes: conv.cc cuts the work into tiles.
//
// A tile is up to `max_vectors` vectors of `lanes` consecutive output pixels. Its input is a panel of rows; row k belongs to one
// (channel group, tap), group major, and holds for each pixel of the tile four input channels, a byte each.
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"

namespace niwaki {

// From 32-bit sums to outputs: t = float(acc) * multiplier [+ float(residual - residual_zero) * residual_scale];
// out = round(clamp(t, low, high)) + out_zero. Or, where out_float is set, float(acc) * multiplier.
struct ConvOutput {
  uint8_t* out;  // group of four outputs 0, pixel 0 of the tile
  int64_t out_stride;
  const uint8_t* residual;  // as out, or null
  int64_t residual_stride;
  float* out_float;  // null, or output 0, pixel 0: [outputs][float_stride]
  int64_t float_stride;
  float low, high;  // less out_zero
  int32_t out_zero, residual_zero;
  float residual_scale;
  bool bounded;  // |t| is below 2^31 whatever the input: then saturation may do the clamping, after the rounding
  bool plain;  // bounded, all zero points are 0 and the limits 0 and 255, as after a ReLU: saturation is then all there is to do
};

// Of ConvKernels::dense_narrow: the outputs of a block, and the most pixels after its vectors.
inline constexpr int32_t kNarrowOutputs = 4, kNarrowTail = 4;

struct DenseTile {
  const uint8_t* panel;
  int64_t row_bytes;
  const int32_t* offsets;  // null; or [rows]: where each row begins, in bytes from the panel, and row_bytes is not read
  int64_t rows;            // of weights
  const uint16_t*
      numbers;  // null; or, where ConvKernels::pairs is set, [rows], an even number: the row of the panel for each row of weights
  int32_t vectors;  // 1 .. max_vectors, of dense_narrow any number
  int32_t tail;     // pixels that follow the vectors: at most ConvKernels::dense_tail, of dense_narrow kNarrowTail
  int32_t
      tiles;  // 1; or, where ConvKernels::dense_blocks is set and there is one block, more: so many alike that follow each other
  // Groups of four outputs to store, 1 .. outputs / 4; where ConvKernels::dense_blocks is set and out_float is not, of any number of blocks.
  int32_t out_groups;
  const uint8_t* weights;   // [rows][outputs] x 4 channels
  int64_t block_bytes;      // of several blocks: from the weights of one to those of the next
  const int32_t* bias;      // [outputs]
  const float* multiplier;  // [outputs]
  ConvOutput output;
};

// A tile for a matrix unit, which has registers of 16 rows of 64 bytes. It multiplies one of weights, 16 outputs of 64 channels and taps each,
// by one of a panel, 16 rows of 16 pixels: a step.
struct MatrixTile {
  const uint8_t* panel;
  int64_t row_bytes;
  int64_t rows;     // 16 or more; the last step begins so early that it ends with them
  int32_t vectors;  // 1 .. ConvKernels::dense_vectors
  // Groups of four outputs, in blocks of ConvKernels::dense_outputs. Of one block at most where out_float is set.
  int32_t out_groups;
  const uint8_t* weights;   // [blocks][rows / 16, rounded up][registers of 16 outputs, as many as the block needs][16] x 64 bytes
  const int32_t* bias;      // [outputs]
  const float* multiplier;  // [outputs]
  ConvOutput output;
};

struct MatrixUnit {
  void (*begin)();  // before the first tile on a thread: sets up its registers
  void (*tile)(const MatrixTile& tile);
  void (*end)();  // after the last one: the thread has none left to be saved
};

// A block of outputs over one chunk of rows. Each output has a list of blocks; ConvKernels::sparse_lists of them make a set, whose lists
// have the same number of blocks (some of them zeros) and are worked on side by side. Before the last chunk lists come in the order of
// their lengths, so that those of a set are alike and the end of one is predicted from the one before; in the last, in the order of the
// outputs, whose sums then go from registers to bytes.
inline constexpr int32_t kSparseBlock = 32;

struct SparseTile {
  const uint8_t* panel;  // rows of one chunk
  int32_t vectors;
  int32_t outputs;         // a multiple of four, at most kSparseBlock
  const uint8_t* order;    // [outputs]: which output each list belongs to; i for list i in the last chunk
  const uint16_t* counts;  // [outputs / lists]: blocks of each list of a set; an even number where a set is one list
  // Of each set's blocks, where their rows begin, in units of 8 bytes, and their four weights. Where a set is one list: two
  // arrays, [count] each; two offsets more may be read ahead, which mean nothing behind the last set. Where it is several: only `values`, [count]
  // records of an offset for each list, then the weights for each list.
  const uint16_t* offsets;
  const uint8_t* values;
  const int32_t* bias;
  const float* multiplier;
  int32_t* partial;  // [outputs][max_vectors * lanes] sums
  bool first, last;  // chunk: start from the bias or from partial; finish or leave in partial
  ConvOutput output;
};

// Outputs along the vector: each row is four inputs of up to `max_pixels` pixels, broadcast one by one, times four weights of each of
// `outputs` outputs. For planes whose pixels don't fill vectors, and for linear layers, whose images are single pixels: tokens, where there
// are many.
struct WideTile {
  const uint8_t* in;  // pixel 0 of the tile, four channels; pixels are 4 bytes apart (never widened)
  int64_t row_bytes;
  int64_t rows;            // of this chunk
  int32_t pixels;          // 1 .. max_pixels
  int32_t valid;           // outputs of this block that exist, 1 .. outputs
  const uint8_t* weights;  // [rows][outputs] x 4 channels, bytes
  // null; or [16], 16-byte aligned: what numbers of 4 bits stand for. Weights are then [rows][outputs] x 2 bytes: byte j of a row holds the
  // number of byte j of a row of bytes and, in its high bits, of byte j + 2 * outputs. So one load and one table give two vectors of weights.
  const int8_t* table;
  uint8_t* unpacked;        // null; or, where there is a table, where the rows are left as bytes for the tiles that follow
  const int32_t* bias;      // [outputs]
  const float* multiplier;  // [outputs]
  int32_t* partial;         // [pixels][outputs] sums between chunks
  bool first, last;
  ConvOutput output;  // out_float: [pixels][float_stride], of which [pixels][outputs] are written
};

// One pixel, outputs along the vector, each with a list of its blocks: for linear layers of one row. In a step, each of the `lanes` outputs of
// a set picks the input of one of its blocks from a window, 2 * lanes groups that follow each other, by a permutation: of lanes, or, where
// ConvKernels::pick_bytes is 4, of bytes. Lists of a tile are sorted by their lengths, so that those of a set are alike.
inline constexpr int32_t kPickSets = 4;

struct PickTile {
  const uint8_t*
      in;  // the pixel's groups of four channels, flipped (ConvKernels::flip), one after the other, and then a window to read
  const uint16_t* counts;   // [kPickSets]: pairs of steps
  const uint16_t* windows;  // [steps of all sets]: the first group
  // Of each pair of steps, [lanes] x 2 bytes: which group of the window, in the first step and in the second. Or of each step, [lanes] x 4
  // bytes: which bytes of the window.
  const uint8_t* lanes;
  const uint8_t* weights;   // [steps of all sets][lanes] x 4 channels, zeros where a list has ended
  const uint8_t* places;    // [outputs]: which of the tile's lists is that of output i
  int32_t valid;            // outputs of this tile that exist, 1 .. kPickSets * lanes
  const int32_t* bias;      // [outputs]
  const float* multiplier;  // [outputs]
  ConvOutput output;        // out_float: [outputs], all of which are written
};

// How a panel is filled. Pixel p of the tile reads, for tap (ky, kx), the input at row top[p] + ky * dilation_h and column
// left[p] + kx * dilation_w of the image whose first pixel is lane origin[p] of a plane; zeros where that is outside of the image.
struct PanelFill {
  const uint8_t* in;  // first group
  int64_t group_stride;
  int32_t groups;
  int32_t kernel_h, kernel_w, dilation_h, dilation_w;
  int32_t in_height, in_width;
  int32_t vectors;
  int32_t* top;  // [vectors * lanes]; a pixel that does not exist has a top below any image
  int32_t* left;
  const int32_t* origin;
  // Set where input and output planes are alike and the stride is 1: the lane is then the pixel's number in the output plus a
  // constant for each tap, and the load is contiguous. `first_lane`: that of pixel 0 under tap (0, 0), inside or not.
  bool shifted;
  int64_t first_lane;
  uint32_t zeros;  // four zero points
  uint32_t flip;   // xor-ed to every lane that is written, `zeros` too: ConvKernels::flip, four times. Only Arm kernels read it.
  uint8_t* panel;
  int64_t row_bytes;
};

// How a band is filled (band.h): `strips` strips for each of `groups` groups. Either all pixels of a strip follow each other in the input,
// or, where `rows` is set, it is made of as many rows of `row_lanes` pixels, each from a row of the input, of which every `stride_w`-th
// pixel is taken.
struct BandFill {
  // First group, at the pixel where the strips begin, inside of the image or not; of rows: at the image's first pixel.
  const uint8_t* in;
  int64_t group_stride;
  int32_t groups, strips, vectors;  // vectors: of a strip, or of a row, of `lanes` pixels
  const int64_t* shifts;  // [strips], of rows [columns]: bytes from `in`, or from where a row begins, to the first pixel
  // [strips][vectors]: which pixels lie inside of the image; bit 0 is the first. Of rows [columns][vectors][2]: of twice as many pixels, from
  // which every `stride_w`-th one is taken.
  const uint16_t* masks;
  uint32_t zeros;  // four zero points: the others
  uint8_t* band;   // [groups][strips][strip_bytes]
  int64_t strip_bytes;
  int32_t rows, row_lanes;      // 0 rows: a strip is contiguous
  int32_t columns;              // strip i is that of column i % columns and of tops[i / columns]
  const int64_t* tops;          // [strips / columns]: the row of the input in a strip's first row, inside of the image or not
  int32_t stride_h, stride_w;   // stride_w: 1 or 2
  int32_t in_height, in_width;  // of the image
};

struct ConvKernels {
  const char* name;
  Isa isa;
  int32_t lanes;  // pixels of a vector
  int32_t
      pairs;  // 1 where dense and sparse kernels add the products of two rows in 16 bits (row_pairs.h); then bands are not read
  int32_t dense_vectors, dense_outputs;
  int32_t
      dense_blocks;  // 1 where the dense kernel takes all blocks of outputs that read the same rows at once, 0 where one at a time
  int32_t sparse_vectors, sparse_lists;  // lists: 1, or as many outputs as a group of the layout has, 4
  int32_t wide_pixels, wide_outputs;
  int32_t dense_tail, narrow_vectors;
  // What the panels of dense and sparse kernels have xor-ed to each byte: 0, or 128 where the multiply takes signed bytes. q ^ 128, as a
  // signed byte, is q - 128: kernels then see sum w (q - 128), and the bias holds the rest. Wide kernels do that to their input themselves.
  int32_t flip;
  void (*dense)(const DenseTile& tile);  // null where there is a matrix unit, which then does the same
  // The same for blocks of kNarrowOutputs, for grouped layers, or null: of any number of vectors, of which it takes narrow_vectors at a
  // time, so that what few products take beside them is shared by many; rows always begin where `offsets` says.
  void (*dense_narrow)(const DenseTile& tile);
  const MatrixUnit* matrix;  // or null
  void (*sparse)(const SparseTile& tile);
  void (*wide)(const WideTile& tile);
  int32_t pick_bytes;                  // of PickTile::lanes for a lane and a step: 1 or 4; 0 where there is no such kernel
  void (*pick)(const PickTile& tile);  // or null
  void (*fill)(const PanelFill& fill);
  void (*fill_band)(const BandFill& fill);  // null where dense kernels read panels only
};

std::span<const ConvKernels> conv_kernels();  // those that this build has, the scalar reference first
const ConvKernels& select_conv(Isa isa);

}  // namespace niwaki
