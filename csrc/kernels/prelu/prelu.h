// A ReLU with a slope below zero for each channel.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/common/after.h"
#include "kernels/layout.h"
#include "kernels/prelu/params.h"

namespace niwaki {

struct PreluKernel {
  const char* name;
  Isa isa;
  // Of one group: flat over `bytes` bytes, a multiple of 64. factors: of its four channels. `out` may be `in`.
  void (*run)(const uint8_t* in, uint8_t* out, int64_t bytes, const float* factors, const PreluParams& params);
};

std::span<const PreluKernel> prelu_kernels();
const PreluKernel& select_prelu(Isa isa);

// factors: of each channel, in whole groups of four: its slope times params.scale.
void prelu(const PreluKernel& kernel, const Planes& in, const Planes& out, const float* factors, const PreluParams& params,
           ThreadPool& pool);

// The same as what a layer does to its bytes; factors as above.
std::unique_ptr<After> after_prelu(const PreluKernel& kernel, std::vector<float> factors, const PreluParams& params);

}  // namespace niwaki
