// Any function of one uint8: out = table[in]. Clamp is one, too, and has its own kernel because it is two instructions.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/common/after.h"
#include "kernels/layout.h"

namespace niwaki {

struct TableKernel {
  const char* name;
  Isa isa;
  // Flat over `bytes` bytes, a multiple of 64, pointers 64-byte aligned; out may be in. table: 256 bytes, 64-byte aligned.
  void (*lookup)(const uint8_t* in, uint8_t* out, int64_t bytes, const uint8_t* table);
  void (*clamp)(const uint8_t* in, uint8_t* out, int64_t bytes, uint8_t low, uint8_t high);
  // In place, `count` rows of exactly `bytes` bytes, a multiple of 4, `stride` apart.
  void (*rows)(uint8_t* data, int64_t stride, int64_t bytes, int64_t count, const uint8_t* table);
};

std::span<const TableKernel> table_kernels();
const TableKernel& select_table(Isa isa);

void lookup(const TableKernel& kernel, const Planes& in, const Planes& out, const uint8_t* table, ThreadPool& pool);
void clamp(const TableKernel& kernel, const Planes& in, const Planes& out, uint8_t low, uint8_t high, ThreadPool& pool);

// The table as what a layer does to its bytes. table: 256 bytes, which are copied.
std::unique_ptr<After> after_table(const TableKernel& kernel, const uint8_t* table);

}  // namespace niwaki
