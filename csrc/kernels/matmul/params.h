// What kernels of matmul take. Apart from matmul.h because files of one instruction set include no header with code in it.
#pragma once

#include <stdint.h>

namespace niwaki {

// out[r][c] = (add ? out[r][c] : 0) + a[r][0] * b[0][c] + a[r][1] * b[1][c] + ...: a sum in this order, fused: rounded once for each
// product.
struct MatmulTile {
  const float* a;  // [rows][a_stride]
  const float* b;  // [depth][b_stride]; read in whole vectors of 16 columns
  float* out;      // [rows][out_stride]; only its columns are written
  int64_t a_stride, b_stride, out_stride;
  int64_t rows, depth, columns;
  bool add;
};

// Rows of a panel, [depth][panel_stride], whose columns are filled up to a multiple of 16 with any numbers.
struct MatmulPanel {
  const float* from;  // [depth][stride], or, transposed, [columns][stride]
  int64_t stride;
  float* panel;
  int64_t panel_stride;
  int64_t depth, columns;
};

}  // namespace niwaki
