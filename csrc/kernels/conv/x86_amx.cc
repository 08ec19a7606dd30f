// AMX: dense layers on its tiles of 16 rows of 64 bytes, here called registers, because a tile is already something else (kernel.h). All
// other kernels are those of AVX-512.
#if defined(__x86_64__)
#if !(defined(__AMX_INT8__) || defined(__AMXINT8__)) || !defined(__AVX512VNNI__)
#error "compile this file with the AMX and AVX-512 flags of cmake/NiwakiCompile.cmake"
#endif

#include "kernels/common/vector.h"
#include "kernels/conv/finish.h"
#include "kernels/conv/kernel.h"

namespace niwaki::conv_avx512vnni {
void sparse(const SparseTile& tile);
void wide(const WideTile& tile);
void pick(const PickTile& tile);
void fill(const PanelFill& fill);
}  // namespace niwaki::conv_avx512vnni

namespace niwaki::conv_amx {
namespace {

#include "kernels/conv/x86_vnni.inc"

#include "kernels/conv/x86_body.inc"

constexpr int kRegisterInts = 16 * 16;
constexpr int kMostSums = 6;  // registers

// What ldtilecfg reads: eight registers of 16 rows of 64 bytes.
struct alignas(64) Shapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

NIWAKI_INLINE int64_t steps_of(const MatrixTile& tile) { return (tile.rows + 15) / 16; }

// Vectors of pixels and groups of outputs that sums belong to.
struct Place {
  int vector = 0;  // the first one
  int begin = 0;   // first group of the block
  int end = 0;     // past its last group
};

// Sums in memory that are still to become outputs, from group `group` on.
struct Pending {
  const int32_t* sums;
  Place place;
  int group = 0;
  void (*store)(const MatrixTile& tile, const int32_t* sums, const Place& place, int group) = nullptr;

  NIWAKI_MEMBER void store_groups(const MatrixTile& tile, int count) {
    for (; count > 0 && group < place.end; --count, ++group) store(tile, sums, place, group);
  }
};

// Sums of kHalves times 16 outputs and kVectors vectors of pixels, in registers [kHalves][kVectors]. Four multiplies of a step or more don't
// wait for each other; with six, there is one register for weights and one for pixels, which come last to first for the second half. Between
// steps, vector instructions finish what is pending: the matrix unit does not need them.
template <int kVectors, int kHalves>
NIWAKI_INLINE void multiply(const MatrixTile& tile, const uint8_t* panel, const uint8_t* weights, Pending& pending) {
  constexpr int64_t kHalf = 1024;
  const int64_t stride = tile.row_bytes, steps = steps_of(tile);
  const int groups = static_cast<int>((pending.place.end - pending.group + steps - 1) / steps);  // for each step
  _tile_zero(0);
  if constexpr (kVectors > 1) _tile_zero(1);
  if constexpr (kVectors > 2 || kHalves > 1) _tile_zero(2);
  if constexpr (kVectors * kHalves > 3) _tile_zero(3);
  if constexpr (kVectors * kHalves > 4) {
    _tile_zero(4);
    _tile_zero(5);
  }
  for (int64_t row = 0; row < tile.rows; row += 16, weights += kHalves * kHalf) {
    const uint8_t* pixels = panel + (row < tile.rows - 16 ? row : tile.rows - 16) * stride;
    if constexpr (kVectors == 3) {
      _tile_loadd(6, weights, 64);
      _tile_loadd(7, pixels, stride);
      _tile_dpbsud(0, 6, 7);
      _tile_loadd(7, pixels + 64, stride);
      _tile_dpbsud(1, 6, 7);
      _tile_loadd(7, pixels + 128, stride);
      _tile_dpbsud(2, 6, 7);
      if constexpr (kHalves > 1) {
        _tile_loadd(6, weights + kHalf, 64);
        _tile_dpbsud(5, 6, 7);
        _tile_loadd(7, pixels + 64, stride);
        _tile_dpbsud(4, 6, 7);
        _tile_loadd(7, pixels, stride);
        _tile_dpbsud(3, 6, 7);
      }
    } else {
      _tile_loadd(4, weights, 64);
      _tile_loadd(6, pixels, stride);
      _tile_dpbsud(0, 4, 6);
      if constexpr (kVectors > 1) {
        _tile_loadd(7, pixels + 64, stride);
        _tile_dpbsud(1, 4, 7);
      }
      if constexpr (kHalves > 1) {
        _tile_loadd(5, weights + kHalf, 64);
        _tile_dpbsud(2, 5, 6);
        if constexpr (kVectors > 1) _tile_dpbsud(3, 5, 7);
      }
    }
    pending.store_groups(tile, groups);
  }
}

// The registers that `multiply` leaves, to memory.
template <int kVectors, int kHalves>
NIWAKI_INLINE void store_sums(int32_t* sums) {
  _tile_stored(0, sums, 64);
  if constexpr (kVectors > 1) _tile_stored(1, sums + kRegisterInts, 64);
  if constexpr (kVectors > 2) _tile_stored(2, sums + 2 * kRegisterInts, 64);
  if constexpr (kHalves > 1) {
    if constexpr (kVectors == 1) _tile_stored(2, sums + kRegisterInts, 64);
    if constexpr (kVectors == 2) {
      _tile_stored(2, sums + 2 * kRegisterInts, 64);
      _tile_stored(3, sums + 3 * kRegisterInts, 64);
    }
    if constexpr (kVectors == 3) {
      _tile_stored(3, sums + 3 * kRegisterInts, 64);
      _tile_stored(4, sums + 4 * kRegisterInts, 64);
      _tile_stored(5, sums + 5 * kRegisterInts, 64);
    }
  }
}

NIWAKI_INLINE Ints sum_of(const int32_t* sums, int output, const int32_t* bias) {
  return add_ints(load(sums + output * kLanes), set_ints(bias[output]));
}

// Of a block, before those of one of its groups.
template <int kVectors>
NIWAKI_INLINE int sums_before(int group) {
  return group / 4 * kVectors * kRegisterInts + group % 4 * 4 * kLanes;
}

// A group of four outputs.
template <int kVectors, bool kResidual, Clamp kClamp>
void store_bytes(const MatrixTile& tile, const int32_t* sums, const Place& place, int group) {
  const ConvOutput& output = tile.output;
  const Limits limits = limits_of(output);
  const int32_t* bias = tile.bias + group * 4;
  uint8_t* out = output.out + group * output.out_stride + place.vector * kPixelBytes;
  const uint8_t* residual = kResidual ? output.residual + group * output.residual_stride + place.vector * kPixelBytes : nullptr;
  sums += sums_before<kVectors>(group - place.begin);
#pragma GCC unroll 4
  for (int v = 0; v < kVectors; ++v, sums += kRegisterInts)
    store_group<kResidual, kClamp>(sum_of(sums, 0, bias), sum_of(sums, 1, bias), sum_of(sums, 2, bias), sum_of(sums, 3, bias),
                                   tile.multiplier + group * 4, limits, kResidual ? residual + v * kPixelBytes : nullptr,
                                   out + v * kPixelBytes);
}

template <int kVectors>
void store_float(const MatrixTile& tile, const int32_t* sums, const Place& place, int group) {
  const int32_t* bias = tile.bias + group * 4;
  sums += sums_before<kVectors>(group - place.begin);
  for (int o = 0; o < 4; ++o) {
    const Floats multiplier = set_floats(tile.multiplier[group * 4 + o]);
    float* out = tile.output.out_float + (group * 4 + o) * tile.output.float_stride + place.vector * kLanes;
    for (int v = 0; v < kVectors; ++v)
      store_floats(out + v * kLanes, mul(to_floats(sum_of(sums + v * kRegisterInts, o, bias)), multiplier));
  }
}

template <int kVectors, bool kResidual>
auto store_clamped(const ConvOutput& output) {
  return output.plain     ? store_bytes<kVectors, kResidual, Clamp::none>
         : output.bounded ? store_bytes<kVectors, kResidual, Clamp::bytes>
                          : store_bytes<kVectors, kResidual, Clamp::floats>;
}

// The lines of a place in the output, and in the residual.
template <int kVectors>
NIWAKI_INLINE void prefetch_place(ConvOutput output, const Place& place) {
  output.out += place.vector * kPixelBytes;
  if (output.residual) output.residual += place.vector * kPixelBytes;
  prefetch_output<kVectors>(output, place.begin, place.end - place.begin);
}

// The sums of a place, which are left pending.
template <int kVectors>
void part(const MatrixTile& tile, const Place& place, const uint8_t* weights, int32_t* sums, Pending& pending) {
  const uint8_t* panel = tile.panel + place.vector * kPixelBytes;
  const ConvOutput& output = tile.output;
  if (output.out) prefetch_place<kVectors>(output, place);
  if (place.end - place.begin > 4) {
    multiply<kVectors, 2>(tile, panel, weights, pending);
    store_sums<kVectors, 2>(sums);
  } else {
    multiply<kVectors, 1>(tile, panel, weights, pending);
    store_sums<kVectors, 1>(sums);
  }
  pending.store = output.out_float  ? store_float<kVectors>
                  : output.residual ? store_clamped<kVectors, true>(output)
                                    : store_clamped<kVectors, false>(output);
  pending.place = place;
  pending.group = place.begin;
}

void begin() {
  const Shapes shapes;
  __asm__ volatile("" : : "r"(&shapes) : "memory");  // GCC's intrinsic says that only the first eight bytes are read
  _tile_loadconfig(&shapes);
}

// Two vectors at a time, three in the end where they are odd.
void tile(const MatrixTile& tile) {
  alignas(64) int32_t sums[kMostSums * kRegisterInts];
  Pending pending{sums, {}, 0, nullptr};
  const int64_t block_bytes = steps_of(tile) * 2048;
  const uint8_t* weights = tile.weights;
  for (int begin = 0; begin < tile.out_groups; begin += 8, weights += block_bytes) {
    Place place{0, begin, begin + 8 < tile.out_groups ? begin + 8 : tile.out_groups};
    while (place.vector < tile.vectors) {
      const int left = tile.vectors - place.vector;
      if (left == 1) part<1>(tile, place, weights, sums, pending), place.vector += 1;
      else if (left == 3) part<3>(tile, place, weights, sums, pending), place.vector += 3;
      else part<2>(tile, place, weights, sums, pending), place.vector += 2;
    }
  }
  pending.store_groups(tile, tile.out_groups);
}

void end() { _tile_release(); }

}  // namespace

void sparse(const SparseTile& tile) { conv_avx512vnni::sparse(tile); }
void wide(const WideTile& tile) { conv_avx512vnni::wide(tile); }
void pick(const PickTile& tile) { conv_avx512vnni::pick(tile); }
void fill(const PanelFill& fill) { conv_avx512vnni::fill(fill); }

extern const MatrixUnit matrix;
const MatrixUnit matrix = {begin, tile, end};

}  // namespace niwaki::conv_amx
#endif
