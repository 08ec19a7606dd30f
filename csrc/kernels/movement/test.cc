#include "kernels/movement/movement.h"

#include <cstring>
#include <functional>
#include <numeric>

#include "base/status.h"
#include "testing/test.h"

using namespace niwaki;
using namespace niwaki::testing;

namespace {

using Sizes = std::vector<int64_t>;

int64_t count_of(const Sizes& sizes) { return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>()); }

// A row-major value whose element i holds a number of its own, as far as its bytes can; bytes behind it show writes past the end.
struct Plain {
  Sizes sizes;
  int64_t element;
  std::vector<uint8_t> bytes;

  Plain(Sizes of, int64_t element_bytes, uint8_t fill = 0xa5) : sizes(std::move(of)), element(element_bytes) {
    bytes.assign(static_cast<std::size_t>(count_of(sizes) * element + 64), fill);
  }
  Plain& number(Random& random) {
    for (int64_t i = 0; i < count_of(sizes) * element; ++i)
      bytes[static_cast<std::size_t>(i)] = static_cast<uint8_t>(random.next());
    return *this;
  }
  int64_t offset(const Sizes& at) const {
    int64_t index = 0;
    for (std::size_t i = 0; i < sizes.size(); ++i) index = index * sizes[i] + at[i];
    return index * element;
  }
  const uint8_t* data() const { return bytes.data(); }
};

// function(coordinates) for every element.
void each(const Sizes& sizes, const std::function<void(const Sizes&)>& function) {
  Sizes at(sizes.size(), 0);
  for (int64_t left = count_of(sizes); left > 0; --left) {
    function(at);
    for (std::size_t i = sizes.size(); i-- > 0;) {
      if (++at[i] < sizes[i]) break;
      at[i] = 0;
    }
  }
}

// What an operator must give: out[at] = in[source(at)].
Plain moved(const Plain& in, const Sizes& out_sizes, const std::function<Sizes(const Sizes&)>& source) {
  Plain out(out_sizes, in.element);
  each(out_sizes, [&](const Sizes& at) {
    std::memcpy(out.bytes.data() + out.offset(at), in.data() + in.offset(source(at)), static_cast<std::size_t>(in.element));
  });
  return out;
}

void check(const std::string& what, const Plain& wanted, const std::function<void(void*, ThreadPool&)>& run) {
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    Plain found(wanted.sizes, wanted.element);
    run(found.bytes.data(), pool);
    if (found.bytes != wanted.bytes) fail(__FILE__, __LINE__, what + " with " + std::to_string(threads) + " threads");
  }
}

Sizes random_sizes(Random& random, int64_t rank, int32_t most) {
  Sizes sizes;
  for (int64_t i = 0; i < rank; ++i) sizes.push_back(random.integer(0, 9) == 0 ? 0 : random.integer(1, most));
  return sizes;
}
// Small enough at every rank, now and then large along one axis.
Sizes random_sizes(Random& random) {
  const int32_t rank = random.integer(0, 8);
  Sizes sizes = random_sizes(random, rank, rank < 4 ? 9 : rank < 6 ? 4 : 3);
  if (rank > 0 && random.integer(0, 3) == 0)
    sizes[static_cast<std::size_t>(random.integer(0, rank - 1))] = random.integer(30, 70);
  return sizes;
}

constexpr int64_t kElements[] = {1, 4, 8};

TEST(movement_permute) {
  Random random(1);
  for (int round = 0; round < 600; ++round) {
    const Sizes sizes = random_sizes(random);
    Sizes axes(sizes.size());
    std::iota(axes.begin(), axes.end(), 0);
    for (std::size_t i = axes.size(); i > 1; --i) std::swap(axes[i - 1], axes[random.next() % i]);
    Sizes out;
    for (const int64_t axis : axes) out.push_back(sizes[static_cast<std::size_t>(axis)]);
    const Plain in = Plain(sizes, kElements[round % 3]).number(random);
    const StridedCopy copy = permute_copy(sizes, axes, in.element);
    check("permute",
          moved(in, out,
                [&](const Sizes& at) {
                  Sizes from(at.size());
                  for (std::size_t i = 0; i < at.size(); ++i) from[static_cast<std::size_t>(axes[i])] = at[i];
                  return from;
                }),
          [&](void* to, ThreadPool& pool) { copy.run(in.data(), to, pool); });
  }
}

// Large enough for threads, with sides that no square divides.
TEST(movement_permute_of_large_values) {
  Random random(2);
  const struct {
    Sizes sizes, axes;
  } cases[] = {{{301, 517}, {1, 0}},           {{2, 197, 3, 12, 64}, {2, 0, 3, 1, 4}},
               {{3, 65, 67, 5}, {0, 3, 1, 2}}, {{3, 65, 67, 5}, {0, 3, 2, 1}},
               {{1, 70000}, {1, 0}},           {{40, 3, 33, 41}, {3, 2, 1, 0}}};
  for (const auto& c : cases) {
    for (const int64_t element : kElements) {
      Sizes out;
      for (const int64_t axis : c.axes) out.push_back(c.sizes[static_cast<std::size_t>(axis)]);
      const Plain in = Plain(c.sizes, element).number(random);
      const StridedCopy copy = permute_copy(c.sizes, c.axes, element);
      CHECK_EQ(copy.is_block(), c.sizes[0] == 1);
      check("permute",
            moved(in, out,
                  [&](const Sizes& at) {
                    Sizes from(at.size());
                    for (std::size_t i = 0; i < at.size(); ++i) from[static_cast<std::size_t>(c.axes[i])] = at[i];
                    return from;
                  }),
            [&](void* to, ThreadPool& pool) { copy.run(in.data(), to, pool); });
    }
  }
}

TEST(movement_expand) {
  Random random(3);
  for (int round = 0; round < 300; ++round) {
    const Sizes out = random_sizes(random);
    Sizes sizes(out.begin() + (out.empty() ? 0 : random.integer(0, static_cast<int32_t>(out.size()))), out.end());
    for (int64_t& size : sizes)
      if (random.integer(0, 1) == 0) size = 1;
    const Plain in = Plain(sizes, kElements[round % 3]).number(random);
    const StridedCopy copy = expand_copy(sizes, out, in.element);
    check("expand",
          moved(in, out,
                [&](const Sizes& at) {
                  Sizes from(at.end() - static_cast<std::ptrdiff_t>(sizes.size()), at.end());
                  for (std::size_t i = 0; i < from.size(); ++i)
                    if (sizes[i] == 1) from[i] = 0;
                  return from;
                }),
          [&](void* to, ThreadPool& pool) { copy.run(in.data(), to, pool); });
  }
}

TEST(movement_slice) {
  Random random(4);
  for (int round = 0; round < 300; ++round) {
    Sizes sizes = random_sizes(random);
    if (sizes.empty()) continue;
    const auto axis = random.next() % sizes.size();
    const int64_t size = sizes[axis], start = size == 0 ? 0 : random.integer(0, static_cast<int32_t>(size)),
                  step = random.integer(1, 4);
    const int64_t count = (size - start + step - 1) / step;
    const Plain in = Plain(sizes, kElements[round % 3]).number(random);
    const StridedCopy copy = slice_copy(sizes, {static_cast<int>(axis), start, step, count}, in.element);
    Sizes out = sizes;
    out[axis] = count;
    check("slice",
          moved(in, out,
                [&](Sizes at) {
                  at[axis] = start + at[axis] * step;
                  return at;
                }),
          [&](void* to, ThreadPool& pool) { copy.run(in.data(), to, pool); });
  }
  // What can be a view, and where it begins.
  const Sizes sizes = {1, 6, 5};
  CHECK(slice_copy(sizes, {1, 2, 1, 3}, 4).is_block());
  CHECK_EQ(slice_copy(sizes, {1, 2, 1, 3}, 4).from(), 40);
  CHECK(!slice_copy(sizes, {1, 2, 2, 2}, 4).is_block());
  CHECK(!slice_copy(sizes, {2, 1, 1, 2}, 4).is_block());
  // One element, of the longest step.
  CHECK(slice_copy(SizeSpan(sizes).first(2), {0, 0, INT64_MAX, 1}, 4).is_block());
}

TEST(movement_concat) {
  Random random(5);
  for (int round = 0; round < 300; ++round) {
    Sizes sizes = random_sizes(random);
    if (sizes.empty()) continue;
    const auto axis = random.next() % sizes.size();
    std::vector<Plain> parts;
    std::vector<StridedCopy> copies;
    Sizes out = sizes;
    out[axis] = 0;
    for (int i = random.integer(1, 4); i > 0; --i) {
      sizes[axis] = random.integer(0, 9);
      parts.push_back(Plain(sizes, kElements[round % 3]).number(random));
      out[axis] += sizes[axis];
    }
    Plain wanted(out, parts[0].element);
    int64_t start = 0;
    for (const Plain& part : parts) {
      each(part.sizes, [&](const Sizes& at) {
        Sizes to = at;
        to[axis] += start;
        std::memcpy(wanted.bytes.data() + wanted.offset(to), part.data() + part.offset(at),
                    static_cast<std::size_t>(part.element));
      });
      copies.push_back(concat_copy(part.sizes, static_cast<int>(axis), start, out[axis], part.element));
      start += part.sizes[axis];
    }
    check("concat", wanted, [&](void* to, ThreadPool& pool) {
      for (std::size_t i = 0; i < parts.size(); ++i) copies[i].run(parts[i].data(), to, pool);
    });
  }
}

TEST(movement_flip_and_roll) {
  Random random(6);
  for (int round = 0; round < 300; ++round) {
    const Sizes sizes = random_sizes(random);
    const Plain in = Plain(sizes, kElements[round % 3]).number(random);
    Sizes axes, shifts;
    for (std::size_t i = 0; i < sizes.size(); ++i)
      if (random.integer(0, 1) == 0) axes.push_back(static_cast<int64_t>(i)), shifts.push_back(random.integer(-9, 9));
    const StridedCopy flipped = flip_copy(sizes, axes, in.element);
    check("flip",
          moved(in, sizes,
                [&](Sizes at) {
                  for (const int64_t axis : axes)
                    at[static_cast<std::size_t>(axis)] =
                        sizes[static_cast<std::size_t>(axis)] - 1 - at[static_cast<std::size_t>(axis)];
                  return at;
                }),
          [&](void* to, ThreadPool& pool) { flipped.run(in.data(), to, pool); });
    if (!axes.empty()) axes.push_back(axes[0]), shifts.push_back(2);  // twice the same axis: the shifts add up
    const std::vector<StridedCopy> rolled = roll_copies(sizes, shifts, axes, in.element);
    check("roll",
          moved(in, sizes,
                [&](Sizes at) {
                  for (std::size_t k = 0; k < axes.size(); ++k) {
                    const auto axis = static_cast<std::size_t>(axes[k]);
                    at[axis] = ((at[axis] - shifts[k]) % sizes[axis] + sizes[axis]) % sizes[axis];
                  }
                  return at;
                }),
          [&](void* to, ThreadPool& pool) {
            for (const StridedCopy& copy : rolled) copy.run(in.data(), to, pool);
          });
  }
}

TEST(movement_tile) {
  Random random(7);
  for (int round = 0; round < 300; ++round) {
    const Sizes sizes = random_sizes(random, random.integer(0, 4), 4);
    Sizes repeats = random_sizes(
        random, static_cast<int64_t>(sizes.size()) + random.integer(0, 8 - static_cast<int32_t>(sizes.size()) > 2 ? 2 : 0), 3);
    const std::size_t added = repeats.size() - sizes.size();
    Sizes out = repeats;
    for (std::size_t i = 0; i < sizes.size(); ++i) out[added + i] *= sizes[i];
    const Plain in = Plain(sizes, kElements[round % 3]).number(random);
    const StridedCopy copy = tile_copy(sizes, repeats, in.element);
    check("tile",
          moved(in, out,
                [&](const Sizes& at) {
                  Sizes from(at.begin() + static_cast<std::ptrdiff_t>(added), at.end());
                  for (std::size_t i = 0; i < from.size(); ++i) from[i] %= sizes[i];
                  return from;
                }),
          [&](void* to, ThreadPool& pool) { copy.run(in.data(), to, pool); });
  }
  const Sizes ones(8, 2);  // sixteen axes, none of which can be joined
  const Plain in = Plain(ones, 1).number(random);
  const StridedCopy copy = tile_copy(ones, ones, 1);
  check("tile",
        moved(in, Sizes(8, 4),
              [](Sizes at) {
                for (int64_t& i : at) i %= 2;
                return at;
              }),
        [&](void* to, ThreadPool& pool) { copy.run(in.data(), to, pool); });
}

// Where the elements of a padded axis come from, found by walking; -1: the value.
std::vector<int64_t> padded_from(int64_t size, int64_t before, int64_t behind, PadMode mode) {
  std::vector<int64_t> list;
  for (int64_t k = std::max<int64_t>(-before, 0); k < size - std::max<int64_t>(-behind, 0); ++k) list.push_back(k);
  const std::vector<int64_t> kept = list;
  for (int64_t k = 0; k < before; ++k) {
    const int64_t next = mode == PadMode::constant    ? -1
                         : mode == PadMode::reflect   ? k + 1
                         : mode == PadMode::replicate ? 0
                                                      : kept[kept.size() - 1 - static_cast<std::size_t>(k)];
    list.insert(list.begin(), next);
  }
  for (int64_t k = 0; k < behind; ++k)
    list.push_back(mode == PadMode::constant    ? -1
                   : mode == PadMode::reflect   ? size - 2 - k
                   : mode == PadMode::replicate ? size - 1
                                                : kept[static_cast<std::size_t>(k)]);
  return list;
}

TEST(movement_pad) {
  Random random(8);
  for (int round = 0; round < 1200; ++round) {
    const auto mode = static_cast<PadMode>(round % 4);
    Sizes sizes = random_sizes(random, random.integer(1, 5), 6), padding, out;
    std::vector<std::vector<int64_t>> sources;  // of each axis
    for (int64_t& size : sizes) {
      if (mode != PadMode::constant && size == 0) size = 3;
      int32_t before = random.integer(-2, 4), behind = random.integer(-2, 4);
      if (random.integer(0, 2) == 0) before = behind = 0;
      const auto most = static_cast<int32_t>(size);
      if (mode == PadMode::reflect) before = std::min(before, most - 1), behind = std::min(behind, most - 1);
      // Nothing is cropped beyond what is there, and a circle has as many elements as are repeated.
      if (before < 0) before = std::max(before, -most / 2);
      if (behind < 0) behind = std::max(behind, -most / 2);
      const int32_t kept = most + std::min(before, 0) + std::min(behind, 0);
      if (mode == PadMode::circular) before = std::min(before, kept), behind = std::min(behind, kept);
      padding.push_back(before);
      padding.push_back(behind);
      out.push_back(size + before + behind);
      sources.push_back(padded_from(size, before, behind, mode));
    }
    const Plain in = Plain(sizes, kElements[round / 4 % 3]).number(random);
    const uint8_t value[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    Plain wanted(out, in.element);
    each(out, [&](const Sizes& at) {
      Sizes from(at.size());
      bool outside = false;
      for (std::size_t i = 0; i < at.size(); ++i) {
        from[i] = sources[i][static_cast<std::size_t>(at[i])];
        outside = outside || from[i] < 0;
      }
      std::memcpy(wanted.bytes.data() + wanted.offset(at), outside ? value : in.data() + in.offset(from),
                  static_cast<std::size_t>(in.element));
    });
    const PadCopy pad(sizes, padding, mode, in.element);
    check("pad", wanted, [&](void* to, ThreadPool& pool) { pad.run(in.data(), to, value, pool); });
  }
}

TEST(movement_take) {
  Random random(9);
  for (int round = 0; round < 300; ++round) {
    const int64_t outer = random.integer(0, 4), size = random.integer(1, 40), inner = random.integer(0, 9),
                  count = random.integer(0, 50);
    const bool wrap = round % 2 == 0;
    const Plain in = Plain({outer, size, inner}, kElements[round % 3]).number(random);
    std::vector<int64_t> indices;
    std::vector<int32_t> small;
    for (int64_t i = 0; i < count; ++i) {
      indices.push_back(random.integer(wrap ? static_cast<int32_t>(-size) : 0, static_cast<int32_t>(size - 1)));
      small.push_back(static_cast<int32_t>(indices.back()));
    }
    const TakeParams params{outer, size, inner, count, in.element, wrap, "t (take)"};
    const Plain wanted = moved(in, {outer, count, inner}, [&](Sizes at) {
      const int64_t index = indices[static_cast<std::size_t>(at[1])];
      at[1] = index < 0 ? index + size : index;
      return at;
    });
    check("take", wanted, [&](void* to, ThreadPool& pool) { take(in.data(), indices.data(), to, params, pool); });
    check("take", wanted, [&](void* to, ThreadPool& pool) { take(in.data(), small.data(), to, params, pool); });
  }
}

// Far outside of the data, so that a read would end the program.
TEST(movement_indices_out_of_range) {
  ThreadPool pool(2);
  const std::vector<float> data(12, 1.0f);
  std::vector<float> out(6);
  const Sizes sizes = {4, 3}, shape = {2, 1};
  const int64_t wrong[] = {4, -1, INT64_MAX, INT64_MIN};
  for (const int64_t index : wrong) {
    const std::vector<int64_t> indices = {0, index};
    CHECK_THROWS(take(data.data(), indices.data(), out.data(), {1, 4, 3, 2, 4, false, "emb (take)"}, pool),
                 "emb (take): the index " + std::to_string(index) + " is out of range; it must be 0 to 3.");
    CHECK_THROWS(gather(data.data(), indices.data(), out.data(), {sizes, shape, 0, 4, "g (gather)"}, pool),
                 "g (gather): the index " + std::to_string(index) + " is out of range; it must be 0 to 3.");
  }
  const int32_t low = -5;
  CHECK_THROWS(take(data.data(), &low, out.data(), {1, 4, 3, 1, 4, true, "t (take)"}, pool),
               "the index -5 is out of range; it must be -4 to 3.");
  CHECK_THROWS(take(data.data(), &low, out.data(), {1, 0, 3, 1, 4, true, "t (take)"}, pool), "there are no elements to take.");
}

TEST(movement_gather) {
  Random random(10);
  for (int round = 0; round < 300; ++round) {
    Sizes sizes = random_sizes(random, random.integer(1, 5), 6);
    const auto axis = random.next() % sizes.size();
    if (sizes[axis] == 0) sizes[axis] = 3;
    Sizes out = sizes;
    for (int64_t& size : out)
      if (size > 1 && random.integer(0, 2) == 0) --size;
    out[axis] = random.integer(0, 9);
    const Plain in = Plain(sizes, kElements[round % 3]).number(random);
    Plain indices(out, 8);
    each(out, [&](const Sizes& at) {
      const int64_t index = random.integer(0, static_cast<int32_t>(sizes[axis] - 1));
      std::memcpy(indices.bytes.data() + indices.offset(at), &index, 8);
    });
    const GatherParams params{sizes, out, static_cast<int>(axis), in.element, "g (gather)"};
    check("gather",
          moved(in, out,
                [&](Sizes at) {
                  std::memcpy(&at[axis], indices.data() + indices.offset(Sizes(at)), 8);
                  return at;
                }),
          [&](void* to, ThreadPool& pool) {
            gather(in.data(), reinterpret_cast<const int64_t*>(indices.data()), to, params, pool);
          });
  }
}

TEST(movement_unfold) {
  Random random(11);
  for (int round = 0; round < 200; ++round) {
    UnfoldParams p{};
    p.images = random.integer(0, 2), p.channels = random.integer(1, 3), p.height = random.integer(1, 9),
    p.width = random.integer(1, 12);
    p.kernel_h = random.integer(1, 3), p.kernel_w = random.integer(1, 4), p.stride_h = random.integer(1, 3),
    p.stride_w = random.integer(1, 3);
    p.pad_top = random.integer(0, 3), p.pad_left = random.integer(0, 3), p.dilation_h = random.integer(1, 2),
    p.dilation_w = random.integer(1, 3);
    const int64_t high = p.height + 2 * p.pad_top - p.dilation_h * (p.kernel_h - 1) - 1,
                  wide = p.width + 2 * p.pad_left - p.dilation_w * (p.kernel_w - 1) - 1;
    if (high < 0 || wide < 0) continue;
    p.out_height = high / p.stride_h + 1, p.out_width = wide / p.stride_w + 1;
    const Plain in = Plain({p.images, p.channels, p.height, p.width}, 4).number(random);
    Plain wanted({p.images, p.channels, p.kernel_h, p.kernel_w, p.out_height, p.out_width}, 4);
    each(wanted.sizes, [&](const Sizes& at) {
      const int64_t y = at[4] * p.stride_h + at[2] * p.dilation_h - p.pad_top,
                    x = at[5] * p.stride_w + at[3] * p.dilation_w - p.pad_left;
      const float zero = 0.0f;
      const bool inside = y >= 0 && y < p.height && x >= 0 && x < p.width;
      std::memcpy(wanted.bytes.data() + wanted.offset(at),
                  inside ? static_cast<const void*>(in.data() + in.offset({at[0], at[1], y, x})) : &zero, 4);
    });
    check("unfold", wanted, [&](void* to, ThreadPool& pool) {
      unfold(reinterpret_cast<const float*>(in.data()), static_cast<float*>(to), p, pool);
    });
  }
}

}  // namespace
