// What GCC, Clang and clang-cl have in common and the standard lacks. Microsoft's own compiler has no vector types and is refused (CMake).
#pragma once

#define NIWAKI_ALWAYS_INLINE inline __attribute__((always_inline))
