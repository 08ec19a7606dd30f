// Products of float32 matrices.
//
// Each element is one sum in the order of the depth, from 0: sum = fma(a, b, sum), which is sum + a * b rounded once. So all instruction sets
// give the same bits, however the work is cut.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/arch.h"
#include "base/thread_pool.h"
#include "kernels/matmul/params.h"

namespace niwaki {

struct MatmulKernel {
  const char* name;
  Isa isa;
  int64_t rows, columns;  // of a tile: multiply() takes any number, and is fastest with multiples of these
  void (*multiply)(const MatmulTile& tile);
  void (*pack_rows)(const MatmulPanel& panel);
  void (*pack_transposed)(const MatmulPanel& panel);
};

std::span<const MatmulKernel> matmul_kernels();
const MatmulKernel& select_matmul(Isa isa);

// Products of pairs of matrices: a [rows, depth], b [depth, columns] or, transposed, [columns, depth]; results follow one another. The
// offsets say where the matrices of each pair begin, in floats.
struct MatmulSizes {
  int64_t rows, depth, columns;
  bool transposed;
  std::vector<int64_t> a_offsets, b_offsets;
};

// Bytes for each thread.
int64_t matmul_scratch(const MatmulKernel& kernel, const MatmulSizes& sizes);

// Thread t works in scratch + t * scratch_step, 64-byte aligned.
void matmul(const MatmulKernel& kernel, const MatmulSizes& sizes, const float* a, const float* b, float* out, uint8_t* scratch,
            int64_t scratch_step, ThreadPool& pool);

}  // namespace niwaki
