// The ways to hold a layer. Made by pack_conv (choose.cc), which asks cost.h.
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/memory.h"
#include "kernels/conv/band.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/cost.h"
#include "kernels/conv/kernel.h"
#include "kernels/conv/nibbles.h"
#include "kernels/conv/pick_lists.h"
#include "kernels/conv/rows.h"
#include "kernels/conv/sparse_lists.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

// The same values in memory that begins on a cache line.
template <typename T>
Buffer copy_of(const std::vector<T>& values) {
  Buffer buffer(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(buffer.data(), values.data(), buffer.size());
  return buffer;
}

// What they share: the layer's parameters, bias and multipliers, padded to whole blocks of outputs.
class PackedBase : public PackedConv {
 public:
  PackedBase(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, int32_t block, const char* kind,
             std::string reason);

  const char* kernel() const override { return name_.c_str(); }
  std::string reason() const override { return reason_; }

 protected:
  int32_t taps() const { return params_.kernel_h * params_.kernel_w; }
  int32_t in_groups() const { return (params_.in_channels + 3) / 4; }
  const int32_t* bias() const { return bias_.as<int32_t>(); }
  const float* multiplier() const { return multiplier_.as<float>(); }
  // Pixels that lie beside each other in a float32 output.
  int64_t float_plane(const Planes& out) const { return params_.linear ? 1 : int64_t{out.height} * out.width; }
  int64_t constants_bytes() const { return static_cast<int64_t>(bias_.size() + multiplier_.size()); }

  // How sums become outputs: all but where they lie, which `place` sets: group `group` at lane `pixel`. Apart, because kernels are called
  // millions of times in a second.
  ConvOutput output_of(const Planes& out, const Planes& residual) const;
  void place(ConvOutput& output, const Planes& out, const Planes& residual, int64_t group, int64_t pixel) const {
    if (!params_.float_output) output.out = out.group(group) + pixel * 4;
    if (params_.has_residual) output.residual = residual.group(group) + pixel * 4;
  }

  ConvParams params_;
  const ConvKernels& kernels_;

 private:
  Buffer bias_, multiplier_;
  bool bounded_ = true;  // see ConvOutput
  std::string name_, reason_;
};

class DenseConv final : public PackedBase {
 public:
  DenseConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason);
  bool sparse() const override { return false; }
  int64_t bytes() const override { return static_cast<int64_t>(weights_.size() + numbers_.size()) + constants_bytes(); }
  std::vector<SharedBuffer*> weights() override { return {&weights_, &numbers_}; }
  int64_t scratch_bytes(const Planes& in, const Planes& out) const override;
  void run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
           const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const override;

 private:
  // Input groups [begin, end) that a block of outputs reads: all, but for grouped convolutions.
  struct Block {
    int32_t begin, end;
    int64_t first_row, panel_rows;  // of the panel
    int64_t rows;                   // of weights: the panel's, or those that row_pairs.h makes of them
    int64_t offset, number;         // where its weights and DenseTile::numbers begin
    int64_t bytes(int32_t width) const { return round_up(rows * width * kRowBytes, 64); }  // of the weights
  };
  class Run;  // dense_run.cc
  bool narrow() const { return width_ != kernels_.dense_outputs; }
  int32_t tile_vectors() const { return narrow() ? kernels_.narrow_vectors : kernels_.dense_vectors; }
  bool direct(const Planes& in, const Planes& out) const;
  int64_t panel_bytes(const Planes& in, const Planes& out) const;  // of a tile; 0 where the input itself is the panel

  // Cuts the outputs into blocks of `width`, whose weights lie nowhere yet; and the products of a pixel, with those by zeros.
  void set_blocks(int32_t width);
  int64_t products() const;
  // function(group, tap) for the rows of groups [begin, end), in the order of the panel; and how many there are.
  template <typename Function>
  void for_each_row(int32_t begin, int32_t end, const Function& function) const;
  int64_t rows_of(int32_t begin, int32_t end) const;
  int64_t panel_rows(int64_t first, int64_t last) const {  // that blocks [first, last) read
    return rows_of(blocks_[static_cast<std::size_t>(first)].begin, blocks_[static_cast<std::size_t>(last - 1)].end);
  }
  void fill_panel(const Planes& in, PanelFill fill, int32_t begin, int32_t end, uint8_t* panel) const;
  // The rows of block `index` for the outputs that it has, [panel rows][width] x 4.
  void store_rows(WeightRows& source, std::size_t index, uint8_t* to) const;
  void pack_pairs(WeightRows& source);

  int32_t width_ = 0;  // outputs of a block
  std::vector<Block> blocks_;
  int64_t most_rows_ = 0;  // of weights of a block
  std::vector<TapRectangle> rectangles_;
  TapRectangle block_taps_{};  // of a grouped layer: of the input groups of a block, as if they were the first ones
  SharedBuffer weights_, numbers_;
};

// A dense layer without groups on a matrix unit.
class MatrixConv final : public PackedBase {
 public:
  MatrixConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason);
  bool sparse() const override { return false; }
  int64_t bytes() const override { return static_cast<int64_t>(weights_.size()) + constants_bytes(); }
  std::vector<SharedBuffer*> weights() override { return {&weights_}; }
  int64_t scratch_bytes(const Planes& in, const Planes& out) const override;
  void run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
           const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const override;

 private:
  int64_t rows() const { return int64_t{in_groups()} * taps(); }
  int64_t block_bytes() const;
  bool in_place(const Planes& in, const Planes& out) const;
  struct Scratch;  // where the parts of a thread's scratch lie
  Scratch scratch_of(const Planes& in, const Planes& out) const;

  SharedBuffer weights_;  // [blocks][steps][outputs of a block] x 64 bytes: see MatrixTile
};

class SparseConv final : public PackedBase {
 public:
  SparseConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason);
  bool sparse() const override { return true; }
  int64_t bytes() const override;
  std::vector<SharedBuffer*> weights() override { return {&order_, &counts_, &offsets_, &values_}; }
  int64_t scratch_bytes(const Planes& in, const Planes& out) const override;
  void run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
           const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const override;

 private:
  int32_t blocks() const { return (cut_.outputs + kSparseBlock - 1) / kSparseBlock; }
  int64_t panel_bytes() const;  // of a chunk
  bool keeps_panels() const;    // of all chunks of a tile

  SparseCut cut_;
  SharedBuffer order_;            // uint8 [chunks][outputs]: see SparseTile
  SharedBuffer counts_;           // uint16 [chunks][sets]
  std::vector<uint32_t> starts_;  // [chunks][blocks]: the first of a block of outputs' blocks of weights
  SharedBuffer offsets_, values_;
};

// A sparse layer with groups of channels, each of whole groups of the layout: one after the other.
class GroupedSparse final : public PackedConv {
 public:
  GroupedSparse(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason);
  const char* kernel() const override { return parts_[0]->kernel(); }
  std::string reason() const override { return reason_; }
  bool sparse() const override { return true; }
  int64_t bytes() const override;
  std::vector<SharedBuffer*> weights() override;
  int64_t scratch_bytes(const Planes& in, const Planes& out) const override;
  void run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
           const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const override;

  static bool possible(const ConvParams& params, const ConvKernels& kernels);
  // Of all groups, with dense and with sparse kernels.
  static ConvCost cost(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels);

 private:
  const ConvParams own_;  // of a group
  const std::string reason_;
  std::vector<std::unique_ptr<SparseConv>> parts_;
};

class WideConv final : public PackedBase {
 public:
  WideConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::optional<Nibbles> nibbles,
           std::string reason);
  bool sparse() const override { return false; }
  int64_t bytes() const override { return static_cast<int64_t>(weights_.size()) + constants_bytes(); }
  std::vector<SharedBuffer*> weights() override { return {&weights_}; }
  int64_t scratch_bytes(const Planes& in, const Planes& out) const override;
  void run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
           const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const override;

  // Whether the input itself can serve as the panel, whatever its size; else panels must hold bytes.
  static bool possible(const ConvParams& params, const ConvKernels& kernels);

 private:
  int64_t rows() const { return int64_t{in_groups()} * taps(); }
  int64_t row_bytes() const { return int64_t{kernels_.wide_outputs} * (nibbles_ ? 2 : 4); }

  int64_t chunk_rows() const;
  int64_t unpacked_bytes() const;

  std::optional<Nibbles> nibbles_;
  SharedBuffer weights_;  // [blocks][rows][outputs] x 4, or x 2: see WideTile
};

// A sparse linear layer of few rows, one after the other.
class PickConv final : public PackedBase {
 public:
  PickConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason);
  bool sparse() const override { return true; }
  int64_t bytes() const override;
  int64_t scratch_bytes(const Planes& in, const Planes& out) const override;
  void run(const Planes& in, const ConvPadding& padding, const Planes& out, float* out_float, const Planes& residual,
           const AfterFrom& after, uint8_t* scratch, ThreadPool& pool) const override;

  std::vector<SharedBuffer*> weights() override { return {&counts_, &windows_, &lanes_, &weights_, &places_}; }

  static bool possible(const ConvParams& params, const ConvKernels& kernels) {
    return kernels.pick != nullptr && params.linear && params.in_channels <= 4 * 65535;  // windows are 16 bits
  }

 private:
  int32_t width() const { return kPickSets * kernels_.lanes; }  // outputs of a tile
  int64_t row_bytes() const { return round_up(int64_t{in_groups()} * 4 + 2 * kernels_.lanes * 4, 64); }

  std::vector<int64_t> starts_;  // of each tile, in steps
  SharedBuffer counts_, windows_, lanes_, weights_, places_;
};

// Copies a tile of float results, [outputs][pitch], to arrays [out.channels][plane] that follow one another.
void store_float_tile(const float* tile, int64_t pitch, const Planes& out, int64_t plane, int64_t first_output, int64_t outputs,
                      int64_t first_pixel, int64_t pixels, float* to);

}  // namespace niwaki
