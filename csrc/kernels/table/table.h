// Any function of one uint8: out = table[in]. Clamp is one, too, and has its own kernel because it is two instructions.
#pragma once

#include <cstdint>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/layout.h"

namespace niwaki {

struct TableKernel {
  const char* name;
  Isa isa;
  // Flat over `bytes` bytes, a multiple of 64, pointers 64-byte aligned; out may be in. table: 256 bytes, 64-byte aligned.
  void (*lookup)(const uint8_t* in, uint8_t* out, int64_t bytes, const uint8_t* table);
  void (*clamp)(const uint8_t* in, uint8_t* out, int64_t bytes, uint8_t low, uint8_t high);
};

std::span<const TableKernel> table_kernels();
const TableKernel& select_table(Isa isa);

void lookup(const TableKernel& kernel, const Planes& in, const Planes& out, const uint8_t* table, ThreadPool& pool);
void clamp(const TableKernel& kernel, const Planes& in, const Planes& out, uint8_t low, uint8_t high, ThreadPool& pool);

}  // namespace niwaki
