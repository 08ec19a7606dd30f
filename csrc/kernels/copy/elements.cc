// Element by element: reshapes and permutations of any kind.
#include <algorithm>
#include <cstring>

#include "kernels/common/partition.h"
#include "kernels/copy/copy.h"
#include "kernels/movement/strided.h"

namespace niwaki {
namespace {

// A value as its elements follow one another in row-major order: runs of `area` elements that lie `step` bytes apart, a run for each
// channel of each image.
struct Sequence {
  uint8_t* data;
  int64_t group_stride, channels, area, step;

  explicit Sequence(const Planes& planes)
      : data(planes.data),
        group_stride(planes.group_stride),
        channels(planes.channels),
        area(int64_t{1} * planes.height * planes.width),
        step(4) {}
  Sequence(uint8_t* rows, int64_t elements) : data(rows), group_stride(0), channels(1), area(elements), step(1) {}

  uint8_t* run(int64_t image, int64_t channel) const {
    return data + channel / 4 * group_stride + image * area * step + channel % 4;
  }
};

// Walks along a sequence.
class Walk {
 public:
  Walk(const Sequence& sequence, int64_t element)
      : sequence_(sequence),
        within_(element % sequence.area),
        channel_(element / sequence.area % sequence.channels),
        image_(element / sequence.area / sequence.channels) {
    at_ = sequence_.run(image_, channel_) + within_ * sequence_.step;
  }
  uint8_t* at() const { return at_; }
  int64_t left() const { return sequence_.area - within_; }  // in this run
  void advance(int64_t count) {                              // at most left()
    within_ += count;
    at_ += count * sequence_.step;
    if (within_ < sequence_.area) return;
    within_ = 0;
    if (++channel_ == sequence_.channels) {
      channel_ = 0;
      ++image_;
    }
    at_ = sequence_.run(image_, channel_);
  }

 private:
  const Sequence& sequence_;
  int64_t within_, channel_, image_;
  uint8_t* at_;
};

void copy_in_order(const Sequence& in, const Sequence& out, int64_t elements, ThreadPool& pool) {
  for_each_part(elements, 1, 16, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    Walk from(in, begin), to(out, begin);
    for (int64_t left = end - begin; left > 0;) {
      const int64_t count = std::min({left, from.left(), to.left()});
      const uint8_t* source = from.at();
      uint8_t* target = to.at();
      for (int64_t i = 0; i < count; ++i) target[i * out.step] = source[i * in.step];
      from.advance(count);
      to.advance(count);
      left -= count;
    }
  });
}

int64_t elements_of(const Planes& planes) { return planes.pixels() * planes.channels; }

int64_t area_of(const Planes& planes) { return int64_t{1} * planes.height * planes.width; }

// Whether the channels of `whole` are those of some images of `part` one after the other, groups staying whole: attention's heads.
bool joins_groups(const Planes& part, const Planes& whole) {
  return part.channels % 4 == 0 && whole.channels % part.channels == 0 && area_of(part) == area_of(whole) &&
         part.images == int64_t{1} * whole.images * (whole.channels / part.channels);
}

// Lane by lane. from, to: which of both is read, which written.
void copy_groups(const Planes& part, const Planes& whole, const Planes& from, const Planes& to, ThreadPool& pool) {
  const int64_t groups = part.channels / 4, joined = whole.channels / part.channels, area = area_of(part) * 4;
  StridedCopy lanes(4);
  const auto add = [&](int64_t size, int64_t in_part, int64_t in_whole) {
    if (&from == &part) lanes.add({size, in_part, in_whole});
    else lanes.add({size, in_whole, in_part});
  };
  add(groups, part.group_stride, whole.group_stride);
  add(joined, area, groups * whole.group_stride);
  add(whole.images, joined * area, area);
  add(area / 4, 4, 4);
  lanes.simplify();
  lanes.run(from.data, to.data, pool);
}

}  // namespace

void reshape(const Planes& in, const Planes& out, ThreadPool& pool) {
  if (elements_of(out) == 0) return;
  if (in.images == out.images && in.channels == out.channels) {
    for_each_part(div_up(out.pixels(), 16), out.groups(), 64, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
      const int64_t bytes = (std::min(end * 16, out.pixels()) - begin * 16) * 4;
      for (int64_t group = first; group < last; ++group)
        std::memcpy(out.group(group) + begin * 64, in.group(group) + begin * 64, static_cast<std::size_t>(bytes));
    });
    return;
  }
  if (joins_groups(in, out)) return copy_groups(in, out, in, out, pool);
  if (joins_groups(out, in)) return copy_groups(out, in, in, out, pool);
  copy_in_order(Sequence(in), Sequence(out), elements_of(out), pool);
}

void reshape_to_rows(const Planes& in, uint8_t* out, ThreadPool& pool) {
  const int64_t elements = elements_of(in);
  if (elements > 0) copy_in_order(Sequence(in), Sequence(out, elements), elements, pool);
}

void reshape_from_rows(const uint8_t* in, const Planes& out, ThreadPool& pool) {
  const int64_t elements = elements_of(out);
  // A sequence reads and writes; this one is only read.
  if (elements > 0) copy_in_order(Sequence(const_cast<uint8_t*>(in), elements), Sequence(out), elements, pool);
}

Offsets row_major_offsets(std::span<const int64_t> shape) {
  Offsets offsets(shape.size());
  int64_t step = 1;
  for (std::size_t axis = shape.size(); axis-- > 0; step *= shape[axis])
    for (int64_t i = 0; i < shape[axis]; ++i) offsets[axis].push_back(i * step);
  return offsets;
}

Offsets grouped_offsets(std::span<const int64_t> shape, int channels, int64_t group_stride) {
  Offsets offsets(shape.size());
  int64_t step = 4;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    const bool grouped = axis == static_cast<std::size_t>(channels);
    for (int64_t i = 0; i < shape[axis]; ++i) offsets[axis].push_back(grouped ? i / 4 * group_stride + i % 4 : i * step);
    if (!grouped) step *= shape[axis];
  }
  return offsets;
}

void copy_elements(const uint8_t* in, const Offsets& from, uint8_t* out, const Offsets& to, ThreadPool& pool) {
  if (to.empty()) {
    *out = *in;
    return;
  }
  const std::size_t last = to.size() - 1;
  const auto row = static_cast<int64_t>(to[last].size());
  int64_t rows = 1;
  for (std::size_t axis = 0; axis < last; ++axis) rows *= static_cast<int64_t>(to[axis].size());
  for_each_part(rows, 1, row * 8, pool, [&](int64_t begin, int64_t end, int64_t, int64_t) {
    for (int64_t at = begin; at < end; ++at) {
      const uint8_t* source = in;
      uint8_t* target = out;
      int64_t rest = at;
      for (std::size_t axis = last; axis-- > 0;) {
        const auto size = static_cast<int64_t>(to[axis].size());
        source += from[axis][static_cast<std::size_t>(rest % size)];
        target += to[axis][static_cast<std::size_t>(rest % size)];
        rest /= size;
      }
      const int64_t *source_at = from[last].data(), *target_at = to[last].data();
      for (int64_t i = 0; i < row; ++i) target[target_at[i]] = source[source_at[i]];
    }
  });
}

}  // namespace niwaki
