// How functions, and static members, of files of one instruction set are declared: with internal linkage, and never left as calls.
#pragma once

#include <stdint.h>

#include "base/compiler.h"

#if defined(NIWAKI_SMALL_CODE)  // a reference, which few CPUs run: see niwaki_small_code()
#define NIWAKI_INLINE static inline
#define NIWAKI_MEMBER inline
#else
#define NIWAKI_INLINE static NIWAKI_ALWAYS_INLINE
#define NIWAKI_MEMBER NIWAKI_ALWAYS_INLINE
#endif
