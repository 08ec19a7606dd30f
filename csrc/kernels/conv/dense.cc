#include <algorithm>
#include <cstring>

#include "kernels/conv/packed.h"
#include "kernels/conv/row_pairs.h"
#include "kernels/conv/rows.h"
#include "kernels/conv/tiles.h"

namespace niwaki {

DenseConv::DenseConv(const ConvParams& params, const ConvWeights& weights, const ConvKernels& kernels, std::string reason)
    : PackedBase(params, weights, kernels, kernels.dense_outputs, "dense", std::move(reason)) {
  rectangles_ = find_taps(params, weights.weight);
  set_blocks(kernels.dense_outputs);
  if (params.groups > 1 && kernels.dense_narrow) {
    // Outputs of unlike groups in one block share no rows: each multiplies those of the others by zeros.
    const int64_t wide = products();
    set_blocks(kNarrowOutputs);
    if (products() * 10 > wide * 9) set_blocks(kernels.dense_outputs);
  }
  block_taps_ = {0, 0, 0, 0, params.kernel_h, params.kernel_w};
  int64_t bytes = 0;
  for (Block& block : blocks_) {
    block_taps_.end = std::max(block_taps_.end, block.end - block.begin);
    block.offset = bytes;
    bytes += block.bytes(width_);
    most_rows_ = std::max(most_rows_, block.rows);
  }
  WeightRows source(params, weights.weight);
  if (kernels.pairs) {
    pack_pairs(source);
    return;
  }
  weights_ = SharedBuffer(static_cast<std::size_t>(bytes));
  std::memset(weights_.data(), 0, weights_.size());
  for (std::size_t block = 0; block < blocks_.size(); ++block) store_rows(source, block, weights_.data() + blocks_[block].offset);
}

void DenseConv::set_blocks(int32_t width) {
  const int64_t ins = params_.in_channels / params_.groups, outs = params_.out_channels / params_.groups;
  width_ = width;
  blocks_.clear();
  for (int64_t first = 0; first < params_.out_channels; first += width) {
    const int64_t last = std::min<int64_t>(first + width, params_.out_channels) - 1;
    Block block{};
    block.begin = static_cast<int32_t>(first / outs * ins / 4);
    block.end = static_cast<int32_t>(div_up((last / outs + 1) * ins, 4));
    block.first_row = rows_of(0, block.begin);
    block.rows = block.panel_rows = rows_of(block.begin, block.end);
    blocks_.push_back(block);
  }
}

int64_t DenseConv::products() const {
  int64_t rows = 0;
  for (const Block& block : blocks_) rows += block.rows;
  return rows * width_;
}

void DenseConv::store_rows(WeightRows& source, std::size_t index, uint8_t* to) const {
  const Block& range = blocks_[index];
  const int32_t width = width_, first = static_cast<int32_t>(index) * width;
  for (int32_t o = first; o < std::min(first + width, params_.out_channels); ++o) {
    const int8_t* from = source.of(o, range.begin, range.end);
    uint8_t* row = to + (o - first) * kRowBytes;
    for_each_row(range.begin, range.end, [&](int32_t group, int32_t tap) {
      std::memcpy(row, from + (int64_t{group - range.begin} * taps() + tap) * kRowBytes, kRowBytes);
      row += width * kRowBytes;
    });
  }
}

void DenseConv::pack_pairs(WeightRows& source) {
  const std::size_t row_bytes = static_cast<std::size_t>(width_ * kRowBytes);
  std::vector<uint8_t> rows, packed;
  std::vector<uint16_t> numbers;
  RowPairs<4> pairs;  // as many outputs as kernels of pairs have in a block
  for (std::size_t index = 0; index < blocks_.size(); ++index) {
    Block& range = blocks_[index];
    // One at least, so that they are not null.
    rows.assign(static_cast<std::size_t>(std::max<int64_t>(1, range.panel_rows)) * row_bytes, 0);
    store_rows(source, index, rows.data());
    pairs.clear();
    for (int64_t row = 0; row < range.panel_rows; ++row)
      pairs.add(static_cast<uint16_t>(row),
                reinterpret_cast<const int8_t*>(rows.data() + static_cast<std::size_t>(row) * row_bytes));
    pairs.finish();
    range.rows = static_cast<int64_t>(pairs.names().size());
    range.offset = static_cast<int64_t>(packed.size());
    range.number = static_cast<int64_t>(numbers.size());
    packed.insert(packed.end(), pairs.weights().begin(), pairs.weights().end());
    numbers.insert(numbers.end(), pairs.names().begin(), pairs.names().end());
  }
  weights_ = SharedBuffer(copy_of(packed));
  numbers_ = SharedBuffer(copy_of(numbers));
}

template <typename Function>
void DenseConv::for_each_row(int32_t begin, int32_t end, const Function& function) const {
  for (const TapRectangle& taps : rectangles_)
    for (int32_t group = std::max(begin, taps.begin); group < std::min(end, taps.end); ++group)
      for (int32_t y = taps.top; y < taps.top + taps.height; ++y)
        for (int32_t x = taps.left; x < taps.left + taps.width; ++x) function(group, y * params_.kernel_w + x);
}

int64_t DenseConv::rows_of(int32_t begin, int32_t end) const {
  int64_t rows = 0;
  for (const TapRectangle& taps : rectangles_)
    rows += int64_t{std::max(0, std::min(end, taps.end) - std::max(begin, taps.begin))} * taps.height * taps.width;
  return rows;
}

// The rows of groups [begin, end) of a tile that `fill` has the pixels of.
void DenseConv::fill_panel(const Planes& in, PanelFill fill, int32_t begin, int32_t end, uint8_t* panel) const {
  const int64_t first_lane = fill.first_lane;
  const int32_t lanes = fill.vectors * kernels_.lanes;
  int32_t top = 0, left = 0;
  fill.group_stride = in.group_stride;
  fill.flip = static_cast<uint32_t>(kernels_.flip) * 0x01010101u;
  for (const TapRectangle& taps : rectangles_) {
    const int32_t first = std::max(begin, taps.begin);
    fill.groups = std::min(end, taps.end) - first;
    if (fill.groups <= 0) continue;
    // Every pixel's window, moved to this rectangle.
    const int32_t down = (taps.top - top) * params_.dilation_h, right = (taps.left - left) * params_.dilation_w;
    for (int32_t p = 0; p < lanes && (down != 0 || right != 0); ++p) {
      fill.top[p] += down;
      fill.left[p] += right;
    }
    top = taps.top;
    left = taps.left;
    fill.first_lane = first_lane + int64_t{top} * params_.dilation_h * in.width + int64_t{left} * params_.dilation_w;
    fill.kernel_h = taps.height;
    fill.kernel_w = taps.width;
    fill.in = in.group(first);
    fill.panel = panel + rows_of(begin, first) * fill.row_bytes;
    kernels_.fill(fill);
  }
}

}  // namespace niwaki
