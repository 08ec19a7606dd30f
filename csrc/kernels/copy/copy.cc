#include "kernels/copy/copy.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "kernels/common/partition.h"

namespace niwaki {
namespace {

// Where one channel of an output group comes from: a byte of each lane of a plane, or nowhere (`value` instead).
struct Channel {
  const uint8_t* plane = nullptr;  // null: value
  int32_t byte = 0;                // 0..3
  uint8_t value = 0;
};
using Channels = std::array<Channel, 4>;

// A channel of planes; channels past the last one are not read by anyone: a value like another.
Channel channel_of(const Planes& planes, int64_t channel) {
  if (channel >= planes.channels) return {};
  return {planes.group(channel / 4), static_cast<int32_t>(channel % 4), 0};
}

uint32_t read_lane(const uint8_t* from) {
  uint32_t lane;
  std::memcpy(&lane, from, 4);
  return lane;
}

// `pixels` lanes that begin at lane `from` of the sources' planes. Shifts and masks of whole lanes, so that compilers make
// vectors of it; a lane's byte k is its bits 8k..8k+7 (little-endian machines, as everywhere in the core).
void gather_channels(const Channels& channels, int64_t from, uint8_t* out, int64_t pixels) {
  const uint8_t* any = nullptr;
  for (const Channel& channel : channels)
    if (channel.plane) any = channel.plane;
  uint32_t constant = 0, masks[4], shifts[4];
  const uint8_t* planes[4];
  bool in_order = any != nullptr;
  for (int k = 0; k < 4; ++k) {
    const Channel& channel = channels[static_cast<std::size_t>(k)];
    if (!channel.plane) constant |= uint32_t{channel.value} << (8 * k);
    planes[k] = (channel.plane ? channel.plane : any) + (any ? from * 4 : 0);
    masks[k] = channel.plane ? 255u : 0u;
    shifts[k] = 8u * static_cast<uint32_t>(channel.byte);
    in_order = in_order && channel.plane == any && channel.byte == k;
  }
  if (in_order) {
    std::memcpy(out, planes[0], static_cast<std::size_t>(pixels) * 4);
    return;
  }
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    uint32_t lane = constant;
    if (any)
      for (int k = 0; k < 4; ++k) lane |= ((read_lane(planes[k] + pixel * 4) >> shifts[k]) & masks[k]) << (8 * k);
    std::memcpy(out + pixel * 4, &lane, 4);
  }
}

// A group whose missing channels follow those present: whole lanes are copied all the same.
void complete(Channels& channels, int32_t present) {
  for (int32_t k = present; k > 0 && k < 4; ++k) {
    Channel next = channels[static_cast<std::size_t>(k - 1)];
    next.byte = next.byte < 3 ? next.byte + 1 : 0;
    channels[static_cast<std::size_t>(k)] = next;
  }
}

int32_t channels_in(const Planes& planes, int64_t group) {
  const int64_t left = planes.channels - group * 4;
  return left < 4 ? static_cast<int32_t>(left) : 4;
}

// source(channel) gives the channel of the input behind each channel of the output.
template <typename Source>
void map_channels(const Planes& out, ThreadPool& pool, const Source& source) {
  const int64_t pixels = out.pixels();
  for_each_part(div_up(pixels, 16), out.groups(), 64, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    for (int64_t group = first; group < last; ++group) {
      Channels channels;
      const int32_t present = channels_in(out, group);
      for (int32_t k = 0; k < present; ++k) channels[static_cast<std::size_t>(k)] = source(group * 4 + k);
      complete(channels, present);
      gather_channels(channels, begin * 16, out.group(group) + begin * 64, std::min(end * 16, pixels) - begin * 16);
    }
  });
}

// Each lane becomes `scale` lanes. Two are a constant number of stores, which compilers make vectors of.
void widen_row(const uint8_t* from, uint8_t* to, int64_t lanes, int32_t scale) {
  if (scale == 1) {
    std::memcpy(to, from, static_cast<std::size_t>(lanes) * 4);
  } else if (scale == 2) {
    for (int64_t x = 0; x < lanes; ++x) {
      const uint32_t pair[2] = {read_lane(from + x * 4), read_lane(from + x * 4)};
      std::memcpy(to + x * 8, pair, 8);
    }
  } else {
    for (int64_t x = 0; x < lanes; ++x)
      for (int32_t copy = 0; copy < scale; ++copy, to += 4) std::memcpy(to, from + x * 4, 4);
  }
}

void fill_lanes(uint8_t* out, uint8_t value, int64_t lanes) { std::memset(out, value, static_cast<std::size_t>(lanes) * 4); }

// The row of the input that row `row` of the output is, -1 where it lies outside. A row runs along the last axis.
int64_t row_of_input(const std::vector<PadParams::Axis>& axes, int64_t row) {
  int64_t from = 0, step = 1;
  for (std::size_t i = axes.size() - 1; i-- > 0;) {
    const int64_t at = row % axes[i].out - axes[i].before;
    if (at < 0 || at >= axes[i].in) return -1;
    from += at * step;
    step *= axes[i].in;
    row /= axes[i].out;
  }
  return from;
}

}  // namespace

void concat_channels(std::span<const Planes> parts, const Planes& out, ThreadPool& pool) {
  map_channels(out, pool, [&](int64_t channel) {
    for (const Planes& part : parts) {
      if (channel < part.channels) return channel_of(part, channel);
      channel -= part.channels;
    }
    return Channel{};
  });
}

void slice_channels(const Planes& in, const Planes& out, int64_t start, int64_t step, ThreadPool& pool) {
  map_channels(out, pool, [&](int64_t channel) { return channel_of(in, start + channel * step); });
}

void concat_pixels(std::span<const Planes> parts, std::span<const int64_t> sizes, const Planes& out, const PixelAxis& axis,
                   ThreadPool& pool) {
  pool.run(out.groups(), [&](int64_t group, int) {
    uint8_t* to = out.group(group);
    for (int64_t outer = 0; outer < axis.outer; ++outer) {
      for (std::size_t i = 0; i < parts.size(); ++i) {
        const int64_t bytes = sizes[i] * axis.inner * 4;
        std::memcpy(to, parts[i].group(group) + outer * bytes, static_cast<std::size_t>(bytes));
        to += bytes;
      }
    }
  });
}

void slice_pixels(const Planes& in, const Planes& out, const PixelAxis& axis, int64_t start, int64_t step, int64_t count,
                  ThreadPool& pool) {
  const int64_t run = step == 1 ? count * axis.inner : axis.inner, runs = step == 1 ? 1 : count;
  pool.run(out.groups(), [&](int64_t group, int) {
    uint8_t* to = out.group(group);
    for (int64_t outer = 0; outer < axis.outer; ++outer) {
      const uint8_t* from = in.group(group) + (outer * axis.size + start) * axis.inner * 4;
      for (int64_t i = 0; i < runs; ++i, from += step * axis.inner * 4, to += run * 4)
        std::memcpy(to, from, static_cast<std::size_t>(run) * 4);
    }
  });
}

void pad(const Planes& in, const Planes& out, const PadParams& params, ThreadPool& pool) {
  if (out.pixels() == 0) return;
  const PadParams::Axis& row = params.axes.back();
  const int64_t rows = out.pixels() / row.out;
  pool.run(out.groups(), [&](int64_t group, int) {
    Channels channels;
    const int32_t present = channels_in(out, group);
    bool empty = true;
    for (int32_t k = 0; k < present; ++k) {
      const int64_t channel = group * 4 + k - params.front;
      const bool inside = channel >= 0 && channel < in.channels && in.pixels() > 0;
      channels[static_cast<std::size_t>(k)] = inside ? channel_of(in, channel) : Channel{nullptr, 0, params.value};
      empty = empty && !inside;
    }
    uint8_t* to = out.group(group);
    if (empty) {
      fill_lanes(to, params.value, out.pixels());
      return;
    }
    if (channels[static_cast<std::size_t>(present - 1)].plane) complete(channels, present);
    for (int64_t y = 0; y < rows; ++y, to += row.out * 4) {
      const int64_t from = row_of_input(params.axes, y);
      if (from < 0) {
        fill_lanes(to, params.value, row.out);
        continue;
      }
      fill_lanes(to, params.value, row.before);
      gather_channels(channels, from * row.in, to + row.before * 4, row.in);
      fill_lanes(to + (row.before + row.in) * 4, params.value, row.out - row.before - row.in);
    }
  });
}

void channel_shuffle(const Planes& in, const Planes& out, int32_t groups, ThreadPool& pool) {
  const int64_t of_group = in.channels / groups;
  map_channels(out, pool, [&](int64_t channel) { return channel_of(in, channel % groups * of_group + channel / groups); });
}

void upsample_nearest(const Planes& in, const Planes& out, int32_t scale_y, int32_t scale_x, ThreadPool& pool) {
  if (out.pixels() == 0) return;
  const auto row_bytes = static_cast<std::size_t>(out.width) * 4;
  // Rows of all images lie one behind the other, in the input as in the output.
  const int64_t rows = int64_t{in.images} * in.height;
  for_each_part(rows, out.groups(), static_cast<int64_t>(row_bytes) * scale_y, pool,
                [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
                  for (int64_t group = first; group < last; ++group) {
                    for (int64_t row = begin; row < end; ++row) {
                      const uint8_t* from = in.group(group) + row * in.width * 4;
                      uint8_t* to = out.group(group) + row * scale_y * int64_t{out.width} * 4;
                      widen_row(from, to, in.width, scale_x);
                      for (int32_t copy = 1; copy < scale_y; ++copy)
                        std::memcpy(to + static_cast<std::size_t>(copy) * row_bytes, to, row_bytes);
                    }
                  }
                });
}

}  // namespace niwaki
