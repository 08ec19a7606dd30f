// Operators whose indices are data. Every index is looked at before anything is read by it.
#include <algorithm>
#include <cstring>
#include <string>

#include "base/status.h"
#include "kernels/common/partition.h"
#include "kernels/movement/movement.h"

namespace niwaki {
namespace {

[[noreturn]] void refuse_index(std::string_view where, int64_t index, int64_t low, int64_t size) {
  const std::string range =
      size == 0 ? "there are no elements to take" : "it must be " + std::to_string(low) + " to " + std::to_string(size - 1);
  throw Error(Status::invalid_argument,
              std::string(where) + ": the index " + std::to_string(index) + " is out of range; " + range + ".");
}

template <typename Index>
void take_any(const uint8_t* data, const Index* indices, uint8_t* out, const TakeParams& p, ThreadPool& pool) {
  const int64_t bytes = p.inner * p.element;
  // Rows of the output: all indices of the first element before the axis, then of the second, ...
  for_each_part(p.outer * p.count, 1, std::max<int64_t>(bytes, 1), pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    const auto copy = [&](auto copy_row) {
      for (int64_t row = begin; row < end;) {
        const int64_t o = row / p.count, stop = std::min(end, (o + 1) * p.count);
        const uint8_t* from = data + o * p.size * bytes;
        for (; row < stop; ++row) {
          int64_t index = indices[row - o * p.count];
          if (index < 0 && p.wrap) index += p.size;
          if (index < 0 || index >= p.size) refuse_index(p.where, indices[row - o * p.count], p.wrap ? -p.size : 0, p.size);
          copy_row(out + row * bytes, from + index * bytes);
        }
      }
    };
    switch (bytes) {
      case 1: return copy([](uint8_t* to, const uint8_t* from) { *to = *from; });
      case 4: return copy([](uint8_t* to, const uint8_t* from) { std::memcpy(to, from, 4); });
      case 8: return copy([](uint8_t* to, const uint8_t* from) { std::memcpy(to, from, 8); });
      default:
        return copy([bytes](uint8_t* to, const uint8_t* from) {
          if (bytes > 0) std::memcpy(to, from, static_cast<std::size_t>(bytes));
        });
    }
  });
}

template <int kBytes>
void gather_elements(const uint8_t* data, const int64_t* indices, uint8_t* out, const GatherParams& p, ThreadPool& pool) {
  const std::size_t rank = p.data.size(), axis = static_cast<std::size_t>(p.axis);
  const int64_t size = p.data[axis], count = p.indices.back();
  int64_t rows = 1, along = 1;  // rows of the indices; elements of the data between neighbours along the axis
  for (std::size_t i = 0; i + 1 < rank; ++i) rows *= p.indices[i];
  for (std::size_t i = axis + 1; i < rank; ++i) along *= p.data[i];
  const int64_t next = axis + 1 == rank ? 0 : 1;  // how far a step along the row moves in the data, but for the index
  for_each_part(rows, 1, count * kBytes, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    for (int64_t row = begin; row < end; ++row) {
      int64_t rest = row, step = p.data.back(), first = 0;  // where the row begins in the data, at index 0
      for (std::size_t i = rank - 1; i-- > 0; rest /= p.indices[i], step *= p.data[i])
        if (i != axis) first += rest % p.indices[i] * step;
      for (int64_t x = 0; x < count; ++x) {
        const int64_t index = indices[row * count + x];
        if (index < 0 || index >= size) refuse_index(p.where, index, 0, size);
        std::memcpy(out + (row * count + x) * kBytes, data + (first + x * next + index * along) * kBytes, kBytes);
      }
    }
  });
}

}  // namespace

void take(const void* data, const int32_t* indices, void* out, const TakeParams& params, ThreadPool& pool) {
  take_any(static_cast<const uint8_t*>(data), indices, static_cast<uint8_t*>(out), params, pool);
}

void take(const void* data, const int64_t* indices, void* out, const TakeParams& params, ThreadPool& pool) {
  take_any(static_cast<const uint8_t*>(data), indices, static_cast<uint8_t*>(out), params, pool);
}

void gather(const void* data, const int64_t* indices, void* out, const GatherParams& params, ThreadPool& pool) {
  const auto run = params.element == 1 ? gather_elements<1> : params.element == 4 ? gather_elements<4> : gather_elements<8>;
  run(static_cast<const uint8_t*>(data), indices, static_cast<uint8_t*>(out), params, pool);
}

}  // namespace niwaki
