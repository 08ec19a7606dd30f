// What compilers spell differently. GCC, Clang and clang-cl are GNU here; Microsoft's own compiler is not: it has no inline assembly for
// 64 bits and no flags for single instruction sets, so it builds the scalar kernels only (untested). Files of an instruction set ask for
// __x86_64__ or __aarch64__, which it does not define.
#pragma once

#if defined(_MSC_VER) && !defined(__clang__)
#define NIWAKI_ALWAYS_INLINE __forceinline
#else
#define NIWAKI_ALWAYS_INLINE inline __attribute__((always_inline))
#endif
