// Sum of two quantized activations of the same shape; or the larger of them, or the smaller.
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/add/params.h"
#include "kernels/layout.h"

namespace niwaki {

// Flat over `bytes` bytes (a multiple of 64, pointers 64-byte aligned). `out` may be `a` or `b`.
using AddFunction = void (*)(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const AddParams& params);

struct AddKernel {
  const char* name;
  Isa isa;
  AddFunction run, maximum, minimum;
};

std::span<const AddKernel> add_kernels();  // the rows of kernels.inc that this build has, the scalar reference first
const AddKernel& select_add(Isa isa);      // the best row that runs on `isa`

// `function`: one of a kernel's.
void add(AddFunction function, const Planes& a, const Planes& b, const Planes& out, const AddParams& params, ThreadPool& pool);

}  // namespace niwaki
