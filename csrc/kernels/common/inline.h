// How functions, and static members, of files of one instruction set are declared: with internal linkage, and never left as calls.
#pragma once

#include <stdint.h>

#include "base/compiler.h"

#define NIWAKI_INLINE static NIWAKI_ALWAYS_INLINE
#define NIWAKI_MEMBER NIWAKI_ALWAYS_INLINE
