// Sum of two quantized activations of the same shape.
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/layout.h"

namespace niwaki {

// t = float(a - a_zero) * a_scale + float(b - b_zero) * b_scale; out = round(clamp(t)) + out_zero, within [low, high].
struct AddParams {
  float a_scale, b_scale;  // scale of the input over scale of the output
  int32_t a_zero, b_zero, out_zero;
  int32_t low, high;  // 0 <= low <= high <= 255
};

// Flat over `bytes` bytes (a multiple of 64, pointers 64-byte aligned). `out` may be `a` or `b`.
using AddFunction = void (*)(const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t bytes, const AddParams& params);

struct AddKernel {
  const char* name;
  Isa isa;
  AddFunction run;
};

std::span<const AddKernel> add_kernels();   // the rows of kernels.inc that this build has, the scalar reference first
const AddKernel& select_add(Isa isa);       // the best row that runs on `isa`

void add(const AddKernel& kernel, const Planes& a, const Planes& b, const Planes& out, const AddParams& params, ThreadPool& pool);

}  // namespace niwaki
