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

void SparseLists::append(const Block& block) {
  offsets_.push_back(block.offset);
  const auto size = values_.size(), step = static_cast<std::size_t>(kernels_.lane_bytes);
  values_.resize(size + step);
  store_block(kernels_, block.weights, values_.data() + size);
}

void SparseLists::append(std::span<const List> lists, uint8_t* order, uint16_t* counts) {
  const auto together = static_cast<std::size_t>(kernels_.sparse_lists);
  for (std::size_t first = 0; first < lists.size(); first += together) {
    const auto set = lists.subspan(first, together);
    std::size_t count = 0;
    for (const List& list : set) count = std::max(count, list.blocks.size());
    if (together == 1) count += count % 2;  // kernels take two blocks of a single list at a time
    for (std::size_t i = 0; i < count; ++i)
      for (const List& list : set) append(i < list.blocks.size() ? list.blocks[i] : Block{});
    for (const List& list : set) *order++ = list.output;
    *counts++ = static_cast<uint16_t>(count);
  }
}

Buffer SparseLists::offsets() const { return copied(offsets_); }
Buffer SparseLists::values() const { return copied(values_); }

}  // namespace niwaki
