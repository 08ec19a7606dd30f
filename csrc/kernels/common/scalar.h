// The arithmetic of the scalar references. See "Numbers" in docs/architecture.md.
#pragma once

#include <cmath>
#include <cstdint>

namespace niwaki {

// round_half_even(clamp(t, low - zero, high - zero)) + zero. What is not a number becomes `low`.
inline uint8_t finish_scalar(float t, int32_t zero, int32_t low, int32_t high) {
  const float lowest = static_cast<float>(low - zero), highest = static_cast<float>(high - zero);
  t = t > lowest ? t : lowest;
  t = t < highest ? t : highest;
  return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyintf(t)) + zero);
}

// Sums wrap around, as in the vector units: unsigned, because a signed overflow is undefined.
inline int32_t wrapping_add(int32_t a, int32_t b) {
  return static_cast<int32_t>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
}

}  // namespace niwaki
