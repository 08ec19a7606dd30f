// Operators that only move elements of row-major values, of 1, 4 or 8 bytes each. Plain C++: what lies together goes by memcpy.
//
// Those that are strided copies have a function that works the copies out from the sizes; they run later, as often as wanted. Sizes and
// axes were checked above; only indices that are data are checked here.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "kernels/movement/strided.h"

namespace niwaki {

using SizeSpan = std::span<const int64_t>;

// Axis i of the output is axis axes[i] of the input.
StridedCopy permute_copy(SizeSpan in, SizeSpan axes, int64_t element);

// Axes of the input, counted from the last, have the output's size or 1.
StridedCopy expand_copy(SizeSpan in, SizeSpan out, int64_t element);

// Elements start, start + step, ... of an axis, as many as the output has.
struct AxisSlice {
  int axis;
  int64_t start, step, count;
};
StridedCopy slice_copy(SizeSpan in, const AxisSlice& slice, int64_t element);

// One part of a concatenation: it begins at element `start` of the output's axis.
StridedCopy concat_copy(SizeSpan part, int axis, int64_t start, int64_t out_size, int64_t element);

StridedCopy flip_copy(SizeSpan in, SizeSpan axes, int64_t element);

// One repetition for each axis of the output, which may have more axes, in front, than the input.
StridedCopy tile_copy(SizeSpan in, SizeSpan repeats, int64_t element);

// Element i of axis axes[k] goes to i + shifts[k], around the end; an axis may stand there twice.
std::vector<StridedCopy> roll_copies(SizeSpan in, SizeSpan shifts, SizeSpan axes, int64_t element);

enum class PadMode : uint8_t { constant, reflect, replicate, circular };

// Room before and behind each axis; a negative one takes elements away, and the rest is what is repeated.
class PadCopy {
 public:
  // padding: before and behind axis 0, axis 1, ...
  PadCopy(SizeSpan in, SizeSpan padding, PadMode mode, int64_t element);
  bool is_block() const { return same_; }  // nothing is added or taken away
  // value: the bytes of one element; read in mode constant alone.
  void run(const void* source, void* destination, const void* value, ThreadPool& pool) const;

 private:
  struct Axis {
    int64_t in, out, before;
    int64_t low, high;  // the elements of the input that stay
    int64_t from;       // bytes between elements of the input
  };
  int64_t source_index(const Axis& axis, int64_t index) const;
  void fill(uint8_t* destination, const uint8_t* value, int64_t bytes) const;
  void copy_row(const uint8_t* source, uint8_t* destination, const uint8_t* value) const;

  std::vector<Axis> axes_;  // neighbours that are not padded are joined
  PadMode mode_;
  int64_t element_;  // of the value
  int64_t block_;    // bytes that move together: the elements behind the last padded axis
  bool same_ = true, empty_ = false;
};

struct TakeParams {
  int64_t outer, size, inner;  // the data: elements before, along and behind the axis
  int64_t count;               // indices
  int64_t element;             // bytes
  bool wrap;                   // -1 is the last one; else it is out of range
  std::string_view where;      // the node, for messages
};
// out[o, i, :] = data[o, indices[i], :]. Throws Error(invalid_argument) for an index out of range; nothing is read there.
void take(const void* data, const int32_t* indices, void* out, const TakeParams& params, ThreadPool& pool);
void take(const void* data, const int64_t* indices, void* out, const TakeParams& params, ThreadPool& pool);

// out[.., i, ..] = data[.., indices[.., i, ..], ..]: torch.gather. Throws like take.
struct GatherParams {
  SizeSpan data, indices;  // sizes; those of `indices` are not larger but along the axis
  int axis;
  int64_t element;
  std::string_view where;
};
void gather(const void* data, const int64_t* indices, void* out, const GatherParams& params, ThreadPool& pool);

// Patches as columns: [N, C, H, W] to [N, C * kernel, windows].
struct UnfoldParams {
  int64_t images, channels, height, width, out_height, out_width;
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_top, pad_left, dilation_h, dilation_w;
};
void unfold(const float* in, float* out, const UnfoldParams& params, ThreadPool& pool);

}  // namespace niwaki
