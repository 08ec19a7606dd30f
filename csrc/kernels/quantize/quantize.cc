#include "kernels/quantize/quantize.h"

#include "kernels/common/partition.h"
#include "kernels/common/select.h"

namespace niwaki {

#define NIWAKI_QUANTIZE(name, isa)                                                                                    \
  namespace quantize_##name {                                                                                         \
    void quantize(const float* const in[4], uint8_t* out, int64_t pixels, const QuantizeParams& params);              \
    void quantize_every_second(const float* const in[4], uint8_t* out, int64_t pixels, const QuantizeParams& params); \
    void dequantize(const uint8_t* in, float* const out[4], int64_t pixels, const QuantizeParams& params);            \
    void quantize_rows(const float* in, int64_t row_stride, const RowsParams& rows, uint8_t* bytes,                   \
                       const QuantizeParams& params);                                                                 \
    void quantize_own_rows(const float* in, int64_t row_stride, const RowsParams& rows, uint8_t* bytes,               \
                           const QuantizeParams* params);                                                             \
    void quantize_row(const float* in, int64_t count, uint8_t* bytes, const QuantizeParams& params);                  \
    void dequantize_rows(const uint8_t* bytes, const RowsParams& rows, float* out, int64_t row_stride,                \
                         const QuantizeParams& params);                                                               \
  }
#include "kernels/quantize/kernels.inc"
#undef NIWAKI_QUANTIZE

std::span<const QuantizeKernel> quantize_kernels() {
  static constexpr QuantizeKernel rows[] = {
#define NIWAKI_QUANTIZE(name, isa)         \
  {#name,                                  \
   isa,                                    \
   quantize_##name::quantize,              \
   quantize_##name::quantize_every_second, \
   quantize_##name::dequantize,            \
   quantize_##name::quantize_rows,         \
   quantize_##name::quantize_own_rows,     \
   quantize_##name::quantize_row,          \
   quantize_##name::dequantize_rows},
#include "kernels/quantize/kernels.inc"
#undef NIWAKI_QUANTIZE
  };
  return rows;
}

const QuantizeKernel& select_quantize(Isa isa) { return select_kernel(quantize_kernels(), isa); }

namespace {

// Asks for memory that will soon be read: an image mostly waits where the last run's weights have pushed it, and its rows are too short for a
// CPU to foresee the next one.
void prefetch(const float* from, int64_t count) {
  constexpr int64_t kLine = 16;  // floats
  for (int64_t i = 0; i < count; i += kLine) __builtin_prefetch(from + i);
}

// function(group, lane in the group's plane, planes of floats, pixels): pieces of one image and one group of four channels.
template <typename Float, typename Function>
void for_each_block(const Planes& planes, Float* values, ThreadPool& pool, const Function& function) {
  const int64_t area = int64_t{1} * planes.height * planes.width;
  if (area == 0) return;
  const int64_t pixels = planes.pixels();
  for_each_part(div_up(pixels, 16), planes.groups(), 320, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    const int64_t end_pixel = std::min(end * 16, pixels);
    for (int64_t pixel = begin * 16; pixel < end_pixel;) {
      const int64_t image = pixel / area, stop = std::min((image + 1) * area, end_pixel);
      for (int64_t group = first; group < last; ++group) {
        Float* channels[4] = {};
        for (int64_t c = 0; c < 4 && group * 4 + c < planes.channels; ++c)
          channels[c] = values + (image * planes.channels + group * 4 + c) * area + pixel % area;
        function(group, pixel, channels, stop - pixel);
      }
      pixel = stop;
    }
  });
}

// function(first row, first channel, RowsParams): pieces of rows.
template <typename Function>
void for_each_rows(const Planes& planes, ThreadPool& pool, const Function& function) {
  const int64_t rows = planes.pixels();
  for_each_part(div_up(rows, 16), planes.groups(), 320, pool, [&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    const RowsParams part{std::min(end * 16, rows) - begin * 16, std::min(last * 4, int64_t{planes.channels}) - first * 4,
                          planes.group_stride};
    function(begin * 16, first * 4, part);
  });
}

}  // namespace

void quantize(const QuantizeKernel& kernel, const float* values, const Planes& out, const QuantizeParams& params,
              ThreadPool& pool) {
  for_each_block(out, values, pool, [&](int64_t group, int64_t lane, const float* const* channels, int64_t pixels) {
    kernel.quantize(channels, out.group(group) + lane * 4, pixels, params);
  });
}

void quantize_phases(const QuantizeKernel& kernel, const float* values, int64_t height, int64_t width, const Planes& out,
                     std::span<const int64_t> order, const QuantizeParams& params, ThreadPool& pool) {
  const int64_t channels = out.channels / 4, area = height * width;
  const int64_t rows = int64_t{1} * out.images * out.height;
  pool.run(rows, [&](int64_t row, int) {
    const int64_t image = row / out.height, y = row % out.height;
    for (int64_t c = 0; c < channels; ++c) {  // the rows of the next run of this loop
      const int64_t next = std::min(2 * y + 2, height), end = std::min(2 * y + 4, height);
      prefetch(values + (image * channels + c) * area + next * width, (end - next) * width);
    }
    for (int64_t group = 0; group < out.groups(); ++group) {
      // The last column of an odd width has no right half: there the group misses the planes of x % 2 == 1.
      const float* planes[4] = {};
      const float* last[4] = {};
      for (int64_t i = 0; i < 4 && group * 4 + i < out.channels; ++i) {
        const int64_t from = order[static_cast<std::size_t>(group * 4 + i)], phase = from / channels, c = from % channels;
        const int64_t from_y = 2 * y + phase / 2, from_x = phase % 2;
        if (from_y >= height) continue;
        planes[i] = values + (image * channels + c) * area + from_y * width + from_x;
        if (from_x == 0) last[i] = planes[i] + width - 1;
      }
      uint8_t* to = out.group(group) + row * out.width * 4;
      kernel.quantize_every_second(planes, to, width / 2, params);
      if (width % 2 == 1) kernel.quantize(last, to + width / 2 * 4, 1, params);
    }
  });
}

void dequantize(const QuantizeKernel& kernel, const Planes& in, float* values, const QuantizeParams& params, ThreadPool& pool) {
  for_each_block(in, values, pool, [&](int64_t group, int64_t lane, float* const* channels, int64_t pixels) {
    kernel.dequantize(in.group(group) + lane * 4, channels, pixels, params);
  });
}

void quantize_rows(const QuantizeKernel& kernel, const float* values, const Planes& out, const QuantizeParams& params,
                   ThreadPool& pool) {
  for_each_rows(out, pool, [&](int64_t row, int64_t channel, const RowsParams& part) {
    kernel.quantize_rows(values + row * out.channels + channel, out.channels, part, out.group(channel / 4) + row * 4, params);
  });
}

void dequantize_rows(const QuantizeKernel& kernel, const Planes& in, float* values, const QuantizeParams& params,
                     ThreadPool& pool) {
  for_each_rows(in, pool, [&](int64_t row, int64_t channel, const RowsParams& part) {
    kernel.dequantize_rows(in.group(channel / 4) + row * 4, part, values + row * in.channels + channel, in.channels, params);
  });
}

}  // namespace niwaki
