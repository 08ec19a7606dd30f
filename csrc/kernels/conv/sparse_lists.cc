#include "kernels/conv/sparse_lists.h"

#include <algorithm>
#include <cstring>

#include "kernels/conv/packed.h"

namespace niwaki {
namespace {

template <typename T>
Buffer copied(const std::vector<T>& values) {
  Buffer buffer(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(buffer.data(), values.data(), buffer.size());
  return buffer;
}

}  // namespace

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
