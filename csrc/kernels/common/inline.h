// How functions, and static members, of files of one instruction set are declared: with internal linkage, and never left as calls.
#pragma once

#include <stdint.h>

#define NIWAKI_INLINE static inline __attribute__((always_inline))
#define NIWAKI_MEMBER inline __attribute__((always_inline))
