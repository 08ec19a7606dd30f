#include "kernels/conv/sparse_lists.h"

#include <algorithm>
#include <cstring>

#include "kernels/conv/packed.h"
#include "kernels/conv/rows.h"

namespace niwaki {
namespace {

// The rows of a chunk should stay in the L1 cache (32 or 48 KiB on today's cores): every output of the tile reads a part of them.
constexpr int64_t kChunkBytes = 32 * 1024;

// Kernels that work on lists side by side cut chunks at multiples of so many rows, and take up to 36 KiB for that. Within these rows, pruning
// keeps the lists of a set equally long: SEGMENT in python/niwaki/pruning/select.py is the same number. 72 rows are 8 groups of a 3 x 3 layer.
constexpr int64_t kSegmentRows = 72;
constexpr int64_t kSegmentedBytes = 36 * 1024;

}  // namespace

SparseCut::SparseCut(const ConvParams& params, const ConvKernels& kernels)
    : taps(params.kernel_h * params.kernel_w), groups((params.in_channels + 3) / 4), vectors(kernels.sparse_vectors) {
  // No more vectors than the plane has: more rows then fit a chunk.
  if (params.expected_pixels > 0)
    vectors = static_cast<int32_t>(std::min<int64_t>(vectors, div_up(params.expected_pixels, kernels.lanes)));
  row_bytes = int64_t{vectors} * kernels.lanes * kRowBytes;
  const int64_t segment = std::max<int64_t>(1, kSegmentRows / taps);
  int64_t in_chunk = std::max<int64_t>(1, kChunkBytes / (row_bytes * taps));
  if (const int64_t segments = kSegmentedBytes / (row_bytes * taps * segment); kernels.sparse_lists > 1 && segments > 0)
    in_chunk = segments * segment;
  chunk_groups = static_cast<int32_t>(in_chunk);
  chunks = (groups + chunk_groups - 1) / chunk_groups;
  outputs = static_cast<int32_t>(round_up(params.out_channels, 4));
}

BlockCount count_blocks(const ConvParams& params, const int8_t* weight, const ConvKernels& kernels, const SparseCut& cut) {
  const auto together = static_cast<std::size_t>(kernels.sparse_lists);
  BlockCount count;
  std::vector<int32_t> lists;
  WeightRows source(params, weight);
  for (int32_t chunk = 0; chunk < cut.chunks; ++chunk) {
    for (int32_t first = 0; first < cut.outputs; first += kSparseBlock) {
      lists.assign(static_cast<std::size_t>(std::min(kSparseBlock, cut.outputs - first)), 0);
      for (std::size_t i = 0; i < lists.size() && first + static_cast<int32_t>(i) < params.out_channels; ++i) {
        const int8_t* rows = source.of(first + static_cast<int32_t>(i), cut.begin(chunk), cut.end(chunk));
        const int32_t all = (cut.end(chunk) - cut.begin(chunk)) * cut.taps;
        int32_t held = 0;
        for (int32_t row = 0; row < all; ++row) held += weights_of_row(rows, row) != 0;
        lists[i] = held;
      }
      if (chunk + 1 < cut.chunks) std::sort(lists.begin(), lists.end());
      for (std::size_t i = 0; i < lists.size(); i += together) {
        int32_t longest = 0;
        for (std::size_t j = i; j < i + together; ++j) {
          longest = std::max(longest, lists[j]);
          count.held += lists[j];
        }
        count.multiplied += together == 1 ? longest + longest % 2 : longest * static_cast<int32_t>(together);
      }
    }
  }
  return count;
}

// Without a branch, which would be mispredicted for every other block.
void SparseLists::List::take(const int8_t* rows, int64_t count_of_rows, int64_t step) {
  count = 0;
  for (int64_t row = 0; row < count_of_rows; ++row) {
    Block& block = blocks[count];
    block.offset = static_cast<uint16_t>(row * step);
    std::memcpy(block.weights, rows + row * kRowBytes, sizeof block.weights);
    count += weights_of_row(rows, row) != 0;
  }
}

void SparseLists::append_pairs(std::span<const List> lists, uint8_t* order, uint16_t* counts) {
  for (const List& list : lists) {
    pairs_.clear();
    for (std::size_t i = 0; i < list.count; ++i) pairs_.add(list.blocks[i].offset, list.blocks[i].weights);
    pairs_.finish();
    offsets_.insert(offsets_.end(), pairs_.names().begin(), pairs_.names().end());
    values_.insert(values_.end(), pairs_.weights().begin(), pairs_.weights().end());
    blocks_ += static_cast<int64_t>(pairs_.names().size());
    *order++ = list.output;
    *counts++ = static_cast<uint16_t>(pairs_.names().size());
  }
}

void SparseLists::append(std::span<const List> lists, uint8_t* order, uint16_t* counts) {
  if (kernels_.pairs) return append_pairs(lists, order, counts);
  const auto together = static_cast<std::size_t>(kernels_.sparse_lists);
  const bool records = together > 1;  // offsets lie with the weights
  constexpr auto kBlockBytes = static_cast<std::size_t>(kRowBytes);
  for (std::size_t first = 0; first < lists.size(); first += together) {
    const auto set = lists.subspan(first, together);
    std::size_t count = 0;
    for (const List& list : set) count = std::max(count, list.count);
    if (together == 1) count += count % 2;  // kernels take two blocks of a single list at a time
    // What a list lacks stays zero.
    const std::size_t values = values_.size(), offsets = offsets_.size();
    const std::size_t step = together * (kBlockBytes + (records ? sizeof(uint16_t) : 0));
    values_.resize(values + count * step);
    if (!records) offsets_.resize(offsets + count);
    for (std::size_t j = 0; j < together; ++j) {
      const List& list = set[j];
      uint8_t* to = values_.data() + values;
      for (std::size_t i = 0; i < list.count; ++i, to += step) {
        const Block& block = list.blocks[i];
        if (records) std::memcpy(to + j * sizeof block.offset, &block.offset, sizeof block.offset);
        else offsets_[offsets + i] = block.offset;
        std::memcpy(to + (step - (together - j) * kBlockBytes), block.weights, kBlockBytes);
      }
    }
    blocks_ += static_cast<int64_t>(count * together);
    for (const List& list : set) *order++ = list.output;
    *counts++ = static_cast<uint16_t>(count);
  }
}

Buffer SparseLists::offsets() const {
  std::vector<uint16_t> offsets = offsets_;
  if (!offsets.empty()) offsets.insert(offsets.end(), 2, 0);
  return copy_of(offsets);
}
Buffer SparseLists::values() const { return copy_of(values_); }

}  // namespace niwaki
