// The operators that are strided copies.
#include <algorithm>

#include "kernels/movement/movement.h"

namespace niwaki {
namespace {

// Bytes between neighbours along each axis of a row-major value.
std::vector<int64_t> steps_of(SizeSpan sizes, int64_t element) {
  std::vector<int64_t> steps(sizes.size());
  for (std::size_t i = sizes.size(); i-- > 0; element *= sizes[i]) steps[i] = element;
  return steps;
}

// The axes of a copy into a whole row-major value: its sizes, and the steps of the source.
StridedCopy whole(SizeSpan sizes, SizeSpan from, int64_t element, int64_t first = 0) {
  StridedCopy copy(element, first);
  const std::vector<int64_t> to = steps_of(sizes, element);
  for (std::size_t i = 0; i < sizes.size(); ++i) copy.add({sizes[i], from[i], to[i]});
  copy.simplify();
  return copy;
}

}  // namespace

StridedCopy permute_copy(SizeSpan in, SizeSpan axes, int64_t element) {
  const std::vector<int64_t> steps = steps_of(in, element);
  std::vector<int64_t> sizes, from;
  for (const int64_t axis : axes) {
    sizes.push_back(in[static_cast<std::size_t>(axis)]);
    from.push_back(steps[static_cast<std::size_t>(axis)]);
  }
  return whole(sizes, from, element);
}

StridedCopy expand_copy(SizeSpan in, SizeSpan out, int64_t element) {
  const std::vector<int64_t> steps = steps_of(in, element);
  const std::size_t added = out.size() - in.size();
  std::vector<int64_t> from(out.size(), 0);
  for (std::size_t i = 0; i < in.size(); ++i)
    if (in[i] != 1) from[added + i] = steps[i];
  return whole(out, from, element);
}

StridedCopy slice_copy(SizeSpan in, const AxisSlice& slice, int64_t element) {
  std::vector<int64_t> from = steps_of(in, element), sizes(in.begin(), in.end());
  const auto axis = static_cast<std::size_t>(slice.axis);
  const int64_t first = slice.start * from[axis];
  sizes[axis] = slice.count;
  if (slice.count > 1) from[axis] *= slice.step;  // a single element may have any step, which no size bounds
  return whole(sizes, from, element, first);
}

StridedCopy concat_copy(SizeSpan part, int axis, int64_t start, int64_t out_size, int64_t element) {
  std::vector<int64_t> out(part.begin(), part.end());
  out[static_cast<std::size_t>(axis)] = out_size;
  const std::vector<int64_t> from = steps_of(part, element), to = steps_of(out, element);
  StridedCopy copy(element, 0, start * to[static_cast<std::size_t>(axis)]);
  for (std::size_t i = 0; i < part.size(); ++i) copy.add({part[i], from[i], to[i]});
  copy.simplify();
  return copy;
}

StridedCopy flip_copy(SizeSpan in, SizeSpan axes, int64_t element) {
  std::vector<int64_t> from = steps_of(in, element);
  int64_t first = 0;
  for (const int64_t axis : axes) {
    const auto i = static_cast<std::size_t>(axis);
    first += (in[i] - 1) * from[i];
    from[i] = -from[i];
  }
  return whole(in, from, element, first);
}

StridedCopy tile_copy(SizeSpan in, SizeSpan repeats, int64_t element) {
  const std::vector<int64_t> steps = steps_of(in, element);
  const std::size_t added = repeats.size() - in.size();
  std::vector<int64_t> sizes, from;
  for (std::size_t i = 0; i < repeats.size(); ++i) {
    sizes.push_back(repeats[i]);
    from.push_back(0);
    if (i < added) continue;
    sizes.push_back(in[i - added]);
    from.push_back(steps[i - added]);
  }
  return whole(sizes, from, element);
}

std::vector<StridedCopy> roll_copies(SizeSpan in, SizeSpan shifts, SizeSpan axes, int64_t element) {
  std::vector<int64_t> shift(in.size(), 0);
  for (std::size_t k = 0; k < axes.size(); ++k) {
    const auto axis = static_cast<std::size_t>(axes[k]);
    if (in[axis] == 0) return {};
    shift[axis] = ((shift[axis] + shifts[k]) % in[axis] + in[axis]) % in[axis];
  }
  // Each rolled axis falls into two pieces: what stays ahead of the end, and what comes around it.
  std::vector<std::size_t> rolled;
  for (std::size_t i = 0; i < in.size(); ++i)
    if (shift[i] != 0) rolled.push_back(i);
  const std::vector<int64_t> steps = steps_of(in, element);
  std::vector<StridedCopy> copies;
  for (std::size_t piece = 0; piece < std::size_t{1} << rolled.size(); ++piece) {
    int64_t from = 0, to = 0;
    std::vector<int64_t> sizes(in.begin(), in.end());
    for (std::size_t k = 0; k < rolled.size(); ++k) {
      const std::size_t axis = rolled[k];
      const bool around = (piece >> k & 1) != 0;
      sizes[axis] = around ? shift[axis] : in[axis] - shift[axis];
      from += around ? (in[axis] - shift[axis]) * steps[axis] : 0;
      to += around ? 0 : shift[axis] * steps[axis];
    }
    StridedCopy copy(element, from, to);
    for (std::size_t i = 0; i < sizes.size(); ++i) copy.add({sizes[i], steps[i], steps[i]});
    copy.simplify();
    copies.push_back(copy);
  }
  return copies;
}

}  // namespace niwaki
