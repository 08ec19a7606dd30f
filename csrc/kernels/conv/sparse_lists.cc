#include "kernels/conv/sparse_lists.h"

#include <algorithm>
#include <cstring>

#include "kernels/conv/blocks.h"
#include "kernels/conv/packed.h"

namespace niwaki {
namespace {

// The rows of a chunk should stay in the L1 cache (32 or 48 KiB on today's cores): every output of the tile reads a part of them.
constexpr int64_t kChunkBytes = 32 * 1024;

template <typename T>
Buffer copied(const std::vector<T>& values) {
  Buffer buffer(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(buffer.data(), values.data(), buffer.size());
  return buffer;
}

}  // namespace

SparseCut::SparseCut(const ConvParams& params, const ConvKernels& kernels)
    : taps(params.kernel_h * params.kernel_w), groups((params.in_channels + 3) / 4), vectors(kernels.sparse_vectors) {
  // No more vectors than the plane has: more rows then fit a chunk.
  if (params.expected_pixels > 0)
    vectors = static_cast<int32_t>(std::min<int64_t>(vectors, div_up(params.expected_pixels, kernels.lanes)));
  row_bytes = int64_t{vectors} * kernels.lanes * kernels.lane_bytes;
  chunk_groups = static_cast<int32_t>(std::max<int64_t>(1, kChunkBytes / (row_bytes * taps)));
  chunks = (groups + chunk_groups - 1) / chunk_groups;
  outputs = static_cast<int32_t>(round_up(params.out_channels, 4));
}

BlockCount count_blocks(const ConvParams& params, const int8_t* weight, const ConvKernels& kernels, const SparseCut& cut) {
  const int64_t step = int64_t{params.in_channels} * cut.taps;
  const auto together = static_cast<std::size_t>(kernels.sparse_lists);
  BlockCount count;
  std::vector<int32_t> lists;
  for (int32_t chunk = 0; chunk < cut.chunks; ++chunk) {
    for (int32_t first = 0; first < cut.outputs; first += kSparseBlock) {
      lists.assign(static_cast<std::size_t>(std::min(kSparseBlock, cut.outputs - first)), 0);
      for (std::size_t i = 0; i < lists.size() && first + static_cast<int32_t>(i) < params.out_channels; ++i)
        for_each_mask(params, weight + (first + static_cast<int64_t>(i)) * step, cut.begin(chunk), cut.end(chunk),
                      [&](int32_t, int32_t, uint32_t mask) { lists[i] += std::popcount(mask); });
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

void SparseLists::append_offset(const Block& block) {
  if (kernels_.sparse_lists == 1) {
    offsets_.push_back(block.offset);
    return;
  }
  const auto size = values_.size();
  values_.resize(size + sizeof block.offset);
  std::memcpy(values_.data() + size, &block.offset, sizeof block.offset);
}

void SparseLists::append_weights(const Block& block) {
  const auto size = values_.size();
  values_.resize(size + static_cast<std::size_t>(kernels_.lane_bytes));
  store_block(kernels_, block.weights, values_.data() + size);
}

void SparseLists::append(std::span<const List> lists, uint8_t* order, uint16_t* counts) {
  const auto together = static_cast<std::size_t>(kernels_.sparse_lists);
  for (std::size_t first = 0; first < lists.size(); first += together) {
    const auto set = lists.subspan(first, together);
    std::size_t count = 0;
    for (const List& list : set) count = std::max(count, list.blocks.size());
    if (together == 1) count += count % 2;  // kernels take two blocks of a single list at a time
    const auto block = [](const List& list, std::size_t i) { return i < list.blocks.size() ? list.blocks[i] : Block{}; };
    for (std::size_t i = 0; i < count; ++i) {
      for (const List& list : set) append_offset(block(list, i));
      for (const List& list : set) append_weights(block(list, i));
    }
    blocks_ += static_cast<int64_t>(count * together);
    for (const List& list : set) *order++ = list.output;
    *counts++ = static_cast<uint16_t>(count);
  }
}

Buffer SparseLists::offsets() const { return copied(offsets_); }
Buffer SparseLists::values() const { return copied(values_); }

}  // namespace niwaki
