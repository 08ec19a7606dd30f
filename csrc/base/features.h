// What code may need of a CPU, a bit each. Whether the operating system saves the registers is part of it. An instruction set (arch.h) is a named
// set of these: code may run where all that it needs is there.
#pragma once

#include <cstdint>

#include "base/arch.h"

namespace niwaki {

using Features = uint32_t;
namespace feature {
inline constexpr Features avx2 = 1 << 0;      // and FMA, F16C
inline constexpr Features avx_vnni = 1 << 1;  // vpdpbusd over 256 bits
inline constexpr Features avx512 = 1 << 2;    // F, BW, DQ and VL
inline constexpr Features avx512_vnni = 1 << 3;
inline constexpr Features avx512_vbmi = 1 << 4;
inline constexpr Features amx = 1 << 5;  // TILE and INT8, and the operating system's leave to use them
inline constexpr Features neon = 1 << 8;
inline constexpr Features dotprod = 1 << 9;
inline constexpr Features i8mm = 1 << 10;
}  // namespace feature

Features cpu_features();        // of this machine
Features features_of(Isa isa);  // that files compiled for the set need

constexpr bool has_all(Features features, Features needed) { return (needed & ~features) == 0; }

}  // namespace niwaki
