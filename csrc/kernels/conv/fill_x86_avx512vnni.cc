// Panels and bands for AVX-512.
#if defined(__x86_64__)
#if !defined(__AVX512VNNI__) || !defined(__AVX512BW__) || !defined(__AVX512VL__) || !defined(__AVX512DQ__)
#error "compile this file with the AVX-512 and VNNI flags of cmake/NiwakiCompile.cmake"
#endif

#include <immintrin.h>

#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx512vnni {
namespace {

// Lanes of a vector that lie within 32 neighbouring ones of the input: two loads and a permutation bring them. A strided convolution
// needs one such run for each row of the image that the vector touches, and a gather takes several times as long.
struct Run {
  int64_t base;
  __m512i index;
  __mmask16 lanes;
  // Of the two loads: up to the last lane that is wanted. What lies behind may be the output, which other threads write.
  __mmask16 low, high;
};

template <int kRuns>
void fill_runs(const PanelFill& fill, const Run* runs, __m512i zeros, uint8_t* to, int64_t step) {
  const uint8_t* plane = fill.in;
  for (int group = 0; group < fill.groups; ++group, to += step, plane += fill.group_stride) {
    __m512i lanes = zeros;
#pragma GCC unroll 4
    for (int r = 0; r < kRuns; ++r) {
      const uint8_t* from = plane + runs[r].base * 4;
      lanes = _mm512_mask_mov_epi32(lanes, runs[r].lanes,
                                    _mm512_permutex2var_epi32(_mm512_maskz_loadu_epi32(runs[r].low, from), runs[r].index,
                                                              _mm512_maskz_loadu_epi32(runs[r].high, from + 64)));
    }
    _mm512_storeu_si512(to, lanes);
  }
}

// Which input each lane of vector `v` reads under a tap, and which lanes read one at all.
struct Lanes {
  __m512i lane;
  __mmask16 inside;
};

Lanes lanes_of(const PanelFill& fill, int ky, int kx, int v) {
  const __m512i row = _mm512_add_epi32(_mm512_loadu_si512(fill.top + v * 16), _mm512_set1_epi32(ky * fill.dilation_h));
  const __m512i column = _mm512_add_epi32(_mm512_loadu_si512(fill.left + v * 16), _mm512_set1_epi32(kx * fill.dilation_w));
  const __mmask16 row_inside = _mm512_cmplt_epu32_mask(row, _mm512_set1_epi32(fill.in_height));
  const __mmask16 inside = _mm512_mask_cmplt_epu32_mask(row_inside, column, _mm512_set1_epi32(fill.in_width));
  const __m512i lane = _mm512_add_epi32(_mm512_mullo_epi32(row, _mm512_set1_epi32(fill.in_width)), column);
  return {_mm512_add_epi32(lane, _mm512_loadu_si512(fill.origin + v * 16)), inside};
}

void fill_strided(const PanelFill& fill, const Lanes& from, __m512i zeros, uint8_t* to, int64_t step) {
  alignas(64) int32_t lanes[16];
  _mm512_store_si512(lanes, from.lane);
  Run runs[4];
  int count = 0;
  for (__mmask16 left = from.inside; left != 0; ++count) {
    if (count == 4) {
      const uint8_t* plane = fill.in;
      for (int group = 0; group < fill.groups; ++group, to += step, plane += fill.group_stride)
        _mm512_storeu_si512(to, _mm512_mask_i32gather_epi32(zeros, from.inside, from.lane, plane, 4));
      return;
    }
    Run& run = runs[count];
    run.base = lanes[__builtin_ctz(left)];
    run.index = _mm512_sub_epi32(from.lane, _mm512_set1_epi32(static_cast<int32_t>(run.base)));
    run.lanes = _mm512_mask_cmplt_epu32_mask(left, run.index, _mm512_set1_epi32(32));
    const auto last = static_cast<int>(lanes[31 - __builtin_clz(run.lanes)] - run.base);  // 0 .. 31
    const uint64_t wanted = (uint64_t{2} << last) - 1;
    run.low = static_cast<__mmask16>(wanted);
    run.high = static_cast<__mmask16>(wanted >> 16);
    left = static_cast<__mmask16>(left & ~run.lanes);
  }
  switch (count) {
    case 0: return fill_runs<0>(fill, runs, zeros, to, step);
    case 1: return fill_runs<1>(fill, runs, zeros, to, step);
    case 2: return fill_runs<2>(fill, runs, zeros, to, step);
    case 3: return fill_runs<3>(fill, runs, zeros, to, step);
    default: return fill_runs<4>(fill, runs, zeros, to, step);
  }
}

// Lanes whose pixel lies below `size` after `shift` is added to its coordinate: no coordinate is negative then.
__mmask16 inside_axis(const int32_t* coordinates, int32_t shift, int32_t size) {
  return _mm512_cmplt_epu32_mask(_mm512_add_epi32(_mm512_loadu_si512(coordinates), _mm512_set1_epi32(shift)),
                                 _mm512_set1_epi32(size));
}

// One tap of all groups, [groups][kVectors]. A mask that is loaded from memory takes as long as the copy of a vector, so masks are kept in
// registers for all groups.
template <int kVectors, bool kInside>
void fill_tap(const PanelFill& fill, const __mmask16 (&masks)[kVectors], const uint8_t* from, __m512i zeros, uint8_t* to,
              int64_t step) {
  for (int group = 0; group < fill.groups; ++group, from += fill.group_stride, to += step) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      _mm512_storeu_si512(to + v * 64,
                          kInside ? _mm512_loadu_si512(from + v * 64) : _mm512_mask_loadu_epi32(zeros, masks[v], from + v * 64));
  }
}

// Contiguous loads, with masks where some of the tile lies outside of the image.
template <int kVectors>
void fill_shifted(const PanelFill& fill, __m512i zeros, int64_t step) {
  uint8_t* to = fill.panel;
  for (int ky = 0; ky < fill.kernel_h; ++ky) {
    __mmask16 rows[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) rows[v] = inside_axis(fill.top + v * 16, ky * fill.dilation_h, fill.in_height);
    const uint8_t* from = fill.in + (fill.first_lane + int64_t{ky} * fill.dilation_h * fill.in_width) * 4;
    for (int kx = 0; kx < fill.kernel_w; ++kx, to += fill.row_bytes, from += fill.dilation_w * 4) {
      __mmask16 masks[kVectors], all = 0xffff;
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        masks[v] = static_cast<__mmask16>(rows[v] & inside_axis(fill.left + v * 16, kx * fill.dilation_w, fill.in_width));
        all = static_cast<__mmask16>(all & masks[v]);
      }
      if (all == 0xffff) fill_tap<kVectors, true>(fill, masks, from, zeros, to, step);
      else fill_tap<kVectors, false>(fill, masks, from, zeros, to, step);
    }
  }
}

// A strip of each group, all of whose pixels follow each other in the input.
struct Strips {
  const uint8_t* from;
  uint8_t* to;
  int64_t from_step, to_step;  // from group to group
  int groups;
  const uint16_t* masks;
};

// kVectors vectors from `begin` on. Their masks stay in registers, for one that is loaded takes as long as the copy.
template <int kVectors>
void copy_masked(const Strips& strips, int begin, __m512i zeros) {
  const Strips own = strips;
  __mmask16 masks[kVectors];
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v) masks[v] = own.masks[begin + v];
  for (int group = 0; group < own.groups; ++group) {
    const uint8_t* from = own.from + group * own.from_step + int64_t{begin} * 64;
    uint8_t* to = own.to + group * own.to_step + int64_t{begin} * 64;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_si512(to + v * 64, _mm512_mask_loadu_epi32(zeros, masks[v], from + v * 64));
  }
}

// A strip of a band for each group: contiguous loads, with masks where some of it lies outside of the image.
void fill_strip(const BandFill& fill, int strip, __m512i zeros) {
  const Strips strips{fill.in + fill.shifts[strip],
                      fill.band + strip * fill.strip_bytes,
                      fill.group_stride,
                      fill.strips * fill.strip_bytes,
                      fill.groups,
                      fill.masks + int64_t{strip} * fill.vectors};
  int v = 0;
  for (; v + 4 <= fill.vectors; v += 4) copy_masked<4>(strips, v, zeros);
  switch (fill.vectors - v) {
    case 1: return copy_masked<1>(strips, v, zeros);
    case 2: return copy_masked<2>(strips, v, zeros);
    case 3: return copy_masked<3>(strips, v, zeros);
    default: return;
  }
}

// One group of three strips, moved by a pixel to the left, not at all, and to the right: each vector is loaded once and takes what it needs of
// its neighbours. masks: of the strips, one after the other. What lies before the first and behind the last vector is read where a mask asks
// for it only: else it may be no memory of the input.
void fill_three(const uint8_t* from, const uint16_t* masks, int vectors, __m512i zeros, uint8_t* to, int64_t strip_bytes) {
  const uint16_t* middle = masks + vectors;
  const uint16_t* right = middle + vectors;
  uint8_t* to_right = to + 2 * strip_bytes;
  __m512i before = _mm512_maskz_loadu_epi32(static_cast<__mmask16>((masks[0] & 1) << 15), from - 64);
  __m512i now = _mm512_mask_loadu_epi32(zeros, middle[0], from);
  const auto store = [&](int v, __m512i next) {
    _mm512_storeu_si512(to + int64_t{v} * 64, _mm512_mask_alignr_epi32(zeros, masks[v], now, before, 15));
    _mm512_storeu_si512(to + strip_bytes + int64_t{v} * 64, now);
    _mm512_storeu_si512(to_right + int64_t{v} * 64, _mm512_mask_alignr_epi32(zeros, right[v], next, now, 1));
    before = now;
    now = next;
  };
  const int last = vectors - 1;
  for (int v = 0; v < last; ++v) store(v, _mm512_mask_loadu_epi32(zeros, middle[v + 1], from + int64_t{v + 1} * 64));
  store(last, _mm512_maskz_loadu_epi32(static_cast<__mmask16>(right[last] >> 15), from + int64_t{vectors} * 64));
}

void fill_strips(const BandFill& fill, __m512i zeros) {
  if (fill.strips == 3 && fill.shifts[0] == -4 && fill.shifts[1] == 0 && fill.shifts[2] == 4) {
    const uint8_t* from = fill.in;
    uint8_t* to = fill.band;
    for (int group = fill.groups; group > 0; --group, from += fill.group_stride, to += 3 * fill.strip_bytes)
      fill_three(from, fill.masks, fill.vectors, zeros, to, fill.strip_bytes);
    return;
  }
  for (int strip = 0; strip < fill.strips; ++strip) fill_strip(fill, strip, zeros);
}

// The rows of neighbouring strips, of kVectors vectors each, whose masks stay in registers; 0: of any number. What the last vector of a row has
// behind its end the next row overwrites. With stride 2 a strip has the even ones of the pixels that are read; where kStrips is 2, the next
// one has the odd ones, and where it is 3, the one after that has those of the first but for one: rows are then no whole vectors.
template <int kStride, int kVectors, int kStrips>
void fill_rows(const BandFill& fill, const uint8_t* from, const uint16_t* masks, int64_t top, __m512i zeros, uint8_t* to) {
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  const int vectors = kVectors > 0 ? kVectors : fill.vectors;
  const int64_t row_bytes = int64_t{fill.row_lanes} * 4, step = int64_t{fill.stride_h} * fill.in_width * 4,
                strip = fill.strip_bytes;
  __mmask16 low[kVectors + 1], high[kVectors + 1];
  for (int v = 0; v < kVectors; ++v) low[v] = masks[v * 2], high[v] = masks[v * 2 + 1];
  for (int64_t row = 0, y = top; row < fill.rows; ++row, y += fill.stride_h, from += step, to += row_bytes) {
    const bool inside = y >= 0 && y < fill.in_height;
    __m512i before = zeros;
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
      if constexpr (kVectors == 0) low[0] = masks[v * 2], high[0] = masks[v * 2 + 1];
      const int m = kVectors > 0 ? v : 0;
      __m512i first = zeros, second = zeros;
      if (inside) {
        first = _mm512_mask_loadu_epi32(zeros, low[m], from + v * 64 * kStride);
        if constexpr (kStride == 2) {
          const __m512i next = _mm512_mask_loadu_epi32(zeros, high[m], from + v * 128 + 64);
          if constexpr (kStrips > 1) second = _mm512_permutex2var_epi32(first, odd, next);
          first = _mm512_permutex2var_epi32(first, even, next);
        }
      }
      _mm512_storeu_si512(to + v * 64, first);
      if constexpr (kStrips > 1) _mm512_storeu_si512(to + strip + v * 64, second);
      if constexpr (kStrips > 2) {
        if (v > 0) _mm512_storeu_si512(to + 2 * strip + (v - 1) * 64, _mm512_alignr_epi32(first, before, 1));
        before = first;
      }
    }
    if constexpr (kStrips > 2) _mm512_storeu_si512(to + 2 * strip + (vectors - 1) * 64, _mm512_alignr_epi32(zeros, before, 1));
  }
}

// How many strips from `column` on fill_rows makes at once.
int strips_at_once(const BandFill& fill, int column) {
  const auto follows = [&](int next) {
    return column + next < fill.columns && fill.shifts[column + next] == fill.shifts[column] + next * 4;
  };
  if (fill.stride_w == 1 || !follows(1)) return 1;
  return follows(2) && fill.row_lanes < fill.vectors * 16 ? 3 : 2;
}

template <int kStride, int kVectors>
void fill_strips_of_rows(const BandFill& fill, __m512i zeros) {
  const uint8_t* plane = fill.in;
  uint8_t* to = fill.band;
  for (int group = 0; group < fill.groups; ++group, plane += fill.group_stride)
    for (int strip = 0, count; strip < fill.strips; strip += count, to += count * fill.strip_bytes) {
      const int column = strip % fill.columns;
      const int64_t top = fill.tops[strip / fill.columns];
      const uint8_t* from = plane + top * fill.in_width * 4 + fill.shifts[column];
      const uint16_t* masks = fill.masks + int64_t{column} * fill.vectors * 2;
      count = strips_at_once(fill, column);
      constexpr bool kTwo = kStride == 2;
      if (count == 3) fill_rows<kStride, kVectors, kTwo ? 3 : 1>(fill, from, masks, top, zeros, to);
      else if (count == 2) fill_rows<kStride, kVectors, kTwo ? 2 : 1>(fill, from, masks, top, zeros, to);
      else fill_rows<kStride, kVectors, 1>(fill, from, masks, top, zeros, to);
    }
}

template <int kStride>
void fill_strips_of_rows(const BandFill& fill, __m512i zeros) {
  switch (fill.vectors) {
    case 1: return fill_strips_of_rows<kStride, 1>(fill, zeros);
    case 2: return fill_strips_of_rows<kStride, 2>(fill, zeros);
    case 4: return fill_strips_of_rows<kStride, 4>(fill, zeros);
    default: return fill_strips_of_rows<kStride, 0>(fill, zeros);
  }
}

}  // namespace

void fill_band(const BandFill& fill) {
  const __m512i zeros = _mm512_set1_epi32(static_cast<int32_t>(fill.zeros));
  if (fill.rows > 0) return fill.stride_w == 1 ? fill_strips_of_rows<1>(fill, zeros) : fill_strips_of_rows<2>(fill, zeros);
  fill_strips(fill, zeros);
}

void fill(const PanelFill& fill) {
  const __m512i zeros = _mm512_set1_epi32(static_cast<int32_t>(fill.zeros));
  const int64_t step = int64_t{fill.kernel_h} * fill.kernel_w * fill.row_bytes;
  if (fill.shifted) {
    switch (fill.vectors) {
      case 1: return fill_shifted<1>(fill, zeros, step);
      case 2: return fill_shifted<2>(fill, zeros, step);
      case 3: return fill_shifted<3>(fill, zeros, step);
      case 4: return fill_shifted<4>(fill, zeros, step);
      case 5: return fill_shifted<5>(fill, zeros, step);
      case 6: return fill_shifted<6>(fill, zeros, step);
      case 7: return fill_shifted<7>(fill, zeros, step);
      case 8: return fill_shifted<8>(fill, zeros, step);
      default: break;
    }
  }
  uint8_t* row = fill.panel;
  for (int ky = 0; ky < fill.kernel_h; ++ky)
    for (int kx = 0; kx < fill.kernel_w; ++kx, row += fill.row_bytes)
      for (int v = 0; v < fill.vectors; ++v) fill_strided(fill, lanes_of(fill, ky, kx, v), zeros, row + v * 64, step);
}

}  // namespace niwaki::conv_avx512vnni
#endif
