// Which blocks of a layer hold a weight: four consecutive input channels of one output at one tap, not all zero. Called for every block of a
// network when its file is opened, so eight taps are looked at together.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/conv/conv.h"

namespace niwaki {

// Bit t is set where byte t is not zero.
inline uint32_t nonzero_bytes(uint64_t bytes) {
  constexpr uint64_t kLow = 0x7f7f7f7f7f7f7f7fu;
  const uint64_t high = (((bytes & kLow) + kLow) | bytes) & ~kLow;
  return static_cast<uint32_t>(((high >> 7) * 0x0102040810204080u) >> 56);
}

// Up to eight bytes, zeros after them.
inline uint64_t load_bytes(const int8_t* from, int32_t count) {
  uint64_t bytes = 0;
  if (count == 8) std::memcpy(&bytes, from, 8);
  else
    for (int32_t i = 0; i < count; ++i) bytes |= uint64_t{static_cast<uint8_t>(from[i])} << (i * 8);
  return bytes;
}

// function(group, tap, mask): bit t of mask is set where the block of `group` at tap + t, of up to eight taps, holds a weight; masks that are
// zero are left out. `weight`: [in_channels][taps], of one output of a layer without groups; groups [begin, end) of four channels.
template <typename Function>
inline void for_each_mask(const ConvParams& params, const int8_t* weight, int32_t begin, int32_t end, const Function& function) {
  const int32_t taps = params.kernel_h * params.kernel_w;
  for (int32_t group = begin; group < end; ++group) {
    const int32_t channels = params.in_channels - group * 4 < 4 ? params.in_channels - group * 4 : 4;
    const int8_t* from = weight + int64_t{group} * 4 * taps;
    if (taps == 1) {
      uint32_t four = 0;
      if (channels == 4) std::memcpy(&four, from, 4);
      else four = static_cast<uint32_t>(load_bytes(from, channels));
      if (four != 0) function(group, 0, 1u);
      continue;
    }
    for (int32_t tap = 0; tap < taps; tap += 8) {
      const int32_t count = taps - tap < 8 ? taps - tap : 8;
      uint64_t bytes = 0;
      for (int32_t channel = 0; channel < channels; ++channel) bytes |= load_bytes(from + channel * taps + tap, count);
      const uint32_t mask = nonzero_bytes(bytes);
      if (mask != 0) function(group, tap, mask);
    }
  }
}

// function(group, tap) for each block that holds a weight.
template <typename Function>
inline void for_each_block(const ConvParams& params, const int8_t* weight, int32_t begin, int32_t end, const Function& function) {
  for_each_mask(params, weight, begin, end, [&](int32_t group, int32_t tap, uint32_t mask) {
    for (; mask != 0; mask &= mask - 1) function(group, tap + std::countr_zero(mask));
  });
}

}  // namespace niwaki
